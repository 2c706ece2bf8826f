"""Progress in a notebook: one display that is brought up to date, on any number of ranks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from html import escape
from typing import Any, Protocol, cast

from ptycho_dist.progress import words
from ptycho_dist.progress.snapshot import FAILED, FINISHED, RUNNING, STOPPED, Snapshot

_ENDS = {FINISHED: "finished", STOPPED: "stopped", FAILED: "failed"}
_BAR = "width: 24em; height: 1em; vertical-align: middle"


class _Handle(Protocol):
    def update(self, shown: Any, **how: Any) -> Any: ...


def in_notebook() -> bool:
    """Tell whether this runs in the kernel of a notebook; IPython on a terminal is none."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class NotebookProgress:
    """Shows snapshots of a job in one display of the cell that made it."""

    def __init__(self) -> None:
        self._handle: _Handle | None = None

    def __call__(self, now: Snapshot) -> None:
        """Show how far rank 0 is; from any thread."""
        from IPython import display

        shown, show = _Shown(now), cast("Callable[..., _Handle]", display.display)
        if self._handle is None:
            self._handle = show(shown, display_id=True)
        else:
            self._handle.update(shown)


class _Shown:
    """A snapshot as text and as HTML; notebooks take what they can."""

    def __init__(self, now: Snapshot) -> None:
        self._now = now

    def __repr__(self) -> str:
        return told(self._now)

    def _repr_html_(self) -> str:
        now = self._now
        part = 1.0 if now.state == FINISHED else now.fraction
        value = "" if part is None else f' value="{part:.3f}"'
        return f'<div><progress style="{_BAR}"{value}></progress> {escape(told(now))}</div>'


def told(now: Snapshot) -> str:
    """Say in one line how far a job is, or how it has ended."""
    ranks = f" on {now.place.world} ranks" if now.place.world > 1 else ""
    if now.state != RUNNING:
        why = f": {now.reason}" if now.reason and now.state != FINISHED else ""
        return f"{now.place.command}{ranks} {_ENDS[now.state]} after {words.duration(now.job_s)}{why}"
    stage = f" (stage {now.number} of {len(now.stages)})" if now.stages and now.number else ""
    return f"{now.place.command}{ranks}{stage}: {words.line(now)}"
