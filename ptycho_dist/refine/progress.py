"""What watches a refinement: a log on disk, and the reports of a stage."""

from __future__ import annotations

import csv
from pathlib import Path

from ptycho_dist.progress.tracker import Progress
from ptycho_dist.refine.candidates import NAMES
from ptycho_dist.refine.run import Iteration

_ERROR = "Fourier error"
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


def curve_of(done: Iteration) -> dict[str, float]:
    """Give what a logger takes of an iteration: errors of all starts, seconds, and patterns a second."""
    starts = {f"from_{name}": error for name, error in done.by_start.items()}
    known = {"fourier_error": done.fourier_error, "seconds": done.seconds, "patterns_per_s": done.patterns_per_s}
    return known | starts


class StageReports:
    """Reports the Fourier errors of iterations in the present stage of a job.

    Parameters
    ----------
    progress
        Where.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __call__(self, done: Iteration) -> None:
        """Report an iteration."""
        starts = ", ".join(f"{error:.4f} from {name}" for name, error in done.by_start.items())
        note = starts if len(done.by_start) > 1 else f"from {next(iter(done.by_start))}"
        self._progress.report(done.number, done.total, note=note, values={_ERROR: done.fourier_error})
