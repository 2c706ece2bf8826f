"""Shows a job in the terminal, again and again until it has ended."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.live import Live

from ptycho_dist.watching.frame import frame
from ptycho_dist.watching.job import Job, look


def show_once(folder: Path, console: Console) -> Job:
    """Print one frame."""
    job = look(folder, datetime.now(UTC))
    console.print(frame(job, console))
    return job


def follow(folder: Path, console: Console, interval_s: float, *, stays: bool) -> None:
    """Show a job until it has ended, or until Ctrl-C; the last frame stays on the terminal.

    Parameters
    ----------
    folder
        Of the results.
    console
        A terminal.
    interval_s
        Seconds between two looks.
    stays
        Whether to go on after the end.
    """
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                job = look(folder, datetime.now(UTC))
                live.update(frame(job, console), refresh=True)
                if job.has_ended and not stays:
                    break
                time.sleep(interval_s)
    except KeyboardInterrupt:
        pass
    show_once(folder, console)
