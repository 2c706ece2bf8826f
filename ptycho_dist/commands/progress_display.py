"""Who is told how far a rank is: a bar on its terminal, lines of the log, Python code that asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ptycho_dist.commands.registry import Typed
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.launching.rank_logging import configure_logging
from ptycho_dist.launching.signals import StopRequested
from ptycho_dist.launching.terminal import shows_bar
from ptycho_dist.progress.bar import Bar
from ptycho_dist.progress.lines import Lines
from ptycho_dist.progress.repeating import repeated
from ptycho_dist.progress.snapshot import FAILED, FINISHED, STOPPED, Snapshot
from ptycho_dist.progress.state_file import read_state
from ptycho_dist.progress.tracker import Progress

Hook = Callable[[Snapshot], None]
_POLL_S, _LAST_POLL_S = 0.5, 2.0


@dataclass(frozen=True)
class _Told:
    """Python code that wants to know.

    Parameters
    ----------
    hook
        Takes snapshots.
    """

    hook: Hook

    def tell(self, now: Snapshot) -> None:
        self.hook(now)

    def close(self) -> None:
        pass


@contextmanager
def followed(typed: Typed, context: RankContext, bar: bool | str = "auto") -> Iterator[Progress]:
    """Set the log of a rank up, and show how far it is until it ends.

    Parameters
    ----------
    typed
        What was typed.
    context
        Place of this rank.
    bar
        As of ``execution.enable_progress_bar``; a bar needs a terminal.
    """
    wants_bar = context.rank == 0 and shows_bar(False if typed.quiet and bar == "auto" else bar, os.environ)
    console = configure_logging(context, debug=typed.debug, quiet=typed.quiet, bar=wants_bar)
    progress = Progress(typed.argv[0], context.rank, context.world)
    progress.report(note="loading libraries")
    if context.rank == 0:
        progress.listen(Lines())
        if typed.on_progress is not None:
            progress.listen(_Told(typed.on_progress))
        if wants_bar and console.is_terminal:
            progress.listen(Bar(console, progress.snapshot))
    with _ended(progress), progress.told():
        yield progress


@contextmanager
def _ended(progress: Progress) -> Iterator[None]:
    """Report how a job has ended."""
    try:
        yield
    except (StopRequested, KeyboardInterrupt) as stop:
        progress.end(STOPPED, str(stop) or "Ctrl-C")
        raise
    except BaseException as error:
        progress.end(FAILED, f"{type(error).__name__}: {error}")
        raise
    progress.end(FINISHED)


@contextmanager
def relayed(hook: Hook | None, folder: Path | None) -> Iterator[None]:
    """Tell Python code how far rank 0 is, where ranks are processes of their own, from the file that it writes."""
    if hook is None or folder is None:
        yield
        return
    before = seen = read_state(folder, 0)

    def poll() -> None:
        nonlocal seen
        now = read_state(folder, 0)
        if now is not None and now != seen:
            hook(now)
            seen = now

    try:
        with repeated(poll, _POLL_S, _LAST_POLL_S):
            yield
    finally:
        last = read_state(folder, 0)
        if last is not None and last != before:
            hook(last)
