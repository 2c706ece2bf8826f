"""Progress of a whole job on a terminal: one bar at its foot, messages above it."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ptycho_dist.progress.snapshot import Snapshot
from ptycho_dist.progress.words import amount, count, details, duration, time_left

_REFRESH_PER_S = 4
_LEAST_COLUMNS, _BAR_COLUMNS, _REST_COLUMNS = 6, 40, 52
"""Shortest and longest bar, and what is left to the words beside it."""


class Bar:
    """Shows the present stage as a bar, and what is known of it below; it goes away at the end.

    Parameters
    ----------
    console
        Where; messages of the log go to the same one, and so above the bar.
    snapshot
        Tells how far the job is.
    """

    def __init__(self, console: Console, snapshot: Callable[[], Snapshot]) -> None:
        self._spinner = Spinner("dots")
        self._live = Live(
            console=console,
            get_renderable=lambda: draw(snapshot(), self._spinner, console.width),
            refresh_per_second=_REFRESH_PER_S,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=True,
        )
        self._live.start(refresh=True)

    def tell(self, now: Snapshot) -> None:
        """Do nothing: the bar looks by itself."""

    def close(self) -> None:
        """Take the bar away."""
        self._live.stop()


def draw(now: Snapshot, spinner: Spinner, width: int) -> Group:
    """Draw two lines that fit a width: the stage and its bar; times and numbers below."""
    row = Table.grid(padding=(0, 1), expand=False)
    for _ in range(3):
        row.add_column(no_wrap=True)
    row.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    place = f"{now.number} of {len(now.stages)} " if len(now.stages) > 1 else ""
    columns = max(_LEAST_COLUMNS, min(_BAR_COLUMNS, width - _REST_COLUMNS))
    bar = ProgressBar(total=now.total or None, completed=now.done, width=columns, pulse=not now.total)
    row.add_row(spinner, Text(place, style="dim").append(now.stage, style="bold"), bar, Text(_amount(now)))
    below = ", ".join([*time_left(now), *details(now), f"{duration(now.job_s)} so far"])
    return Group(row, Text(f"  {below}", style="dim", no_wrap=True, overflow="ellipsis"))


def _amount(now: Snapshot) -> str:
    """Say how much is done; ``12/20`` where there is an end."""
    return amount(now) if now.total is None else f"{count(now.done)}/{count(now.total)} {now.unit}"
