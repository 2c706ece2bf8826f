"""What watches a refinement: a log on disk, and a progress bar."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ptycho_dist.refine.candidates import NAMES
from ptycho_dist.refine.run import Callback, Iteration

logger = logging.getLogger(__name__)

_LINES_S = 5.0
"""Shortest time between two lines of the log; the last iteration has one in any case."""
_LOG = Path("logs") / "refine.csv"
_COLUMNS = ("iteration", "fourier_error", "seconds", "patterns_per_s", *(f"from_{name}" for name in NAMES))
"""The last ones hold the Fourier error of each start, as long as it is refined."""


class CsvLog:
    """Writes a line for each iteration to ``logs/refine.csv``; lines of a resumed run are kept.

    Parameters
    ----------
    output_dir
        Folder of the results.
    """

    def __init__(self, output_dir: Path) -> None:
        self._path = output_dir / _LOG

    def __call__(self, done: Iteration) -> None:
        """Write an iteration."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        kept = self._lines(done.number)
        with self._path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            writer.writerows(kept)
            speed = f"{done.patterns_per_s:.1f}"
            by_start = [repr(done.by_start[name]) if name in done.by_start else "" for name in NAMES]
            writer.writerow([done.number, repr(done.fourier_error), f"{done.seconds:.3f}", speed, *by_start])

    def _lines(self, before: int) -> list[list[str]]:
        """Lines of earlier iterations; none where this is the first."""
        if before == 1 or not self._path.is_file():
            return []
        with self._path.open(newline="", encoding="utf-8") as file:
            return [line for line in list(csv.reader(file))[1:] if int(line[0]) < before]


class Lines:
    """Logs the error of an iteration every few seconds, for a person without a progress bar."""

    def __init__(self) -> None:
        self._told_at = time.monotonic()

    def __call__(self, done: Iteration) -> None:
        """Log an iteration, if it is time."""
        if done.number == done.total or time.monotonic() - self._told_at >= _LINES_S:
            told = ", ".join(f"{error:.4f} from {name}" for name, error in done.by_start.items())
            logger.info("iteration %d of %d: fourier_error %s", done.number, done.total, told)
            self._told_at = time.monotonic()


@contextmanager
def progress_bar() -> Iterator[Callback]:
    """Show a bar on standard error while iterations are done."""
    columns = (TextColumn("refine"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[e]}")) as progress:
        task = progress.add_task("refine", total=None, e="")

        def show(done: Iteration) -> None:
            progress.update(task, completed=done.number, total=done.total, e=f"Fourier error {done.fourier_error:.4f}")

        yield show
