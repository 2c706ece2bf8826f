"""A file for each rank that says how far it is; who watches reads it, also from another host."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ptycho_dist.progress.snapshot import RUNNING, Snapshot

FOLDER = "logs"
_NAME = re.compile(r"progress-rank-(\d{5,})\.json")
_LEAST_S, _MOST_S, _RANKS_A_SECOND = 1.0, 30.0, 16
"""Shortest and longest time between two writes, and how many ranks may write in a second."""


def state_path(output_dir: Path, rank: int) -> Path:
    """Return where a rank writes how far it is."""
    return output_dir / FOLDER / f"progress-rank-{rank:05d}.json"


def interval_s(world: int) -> float:
    """Seconds between two writes of a rank: one, and more from 16 ranks on, so that a file system is spared."""
    return min(_MOST_S, max(_LEAST_S, world / _RANKS_A_SECOND))


class StateFile:
    """Writes snapshots of a rank, each as a whole file in the place of the one before.

    If the file cannot be written, that is said once and the job continues without it.

    Parameters
    ----------
    output_dir
        Folder of the job's results.
    rank, world
        Which rank of how many.
    clock
        Seconds that never go back.
    """

    def __init__(self, output_dir: Path, rank: int, world: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = state_path(output_dir, rank)
        self._interval_s, self._clock = interval_s(world), clock
        self._written_at: float | None = None
        self._is_broken = False
        if rank == 0:
            self._forget_ranks_beyond(world)

    def tell(self, now: Snapshot) -> None:
        """Write a snapshot, if it is time or the rank has ended."""
        is_early = self._written_at is not None and self._clock() - self._written_at < self._interval_s
        if self._is_broken or (is_early and now.state == RUNNING):
            return
        self._written_at = self._clock()
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(now.to_dict()), encoding="utf-8")
            temporary.replace(self.path)
        except OSError as error:
            self._is_broken = True
            sys.stderr.write(
                f"ptycho-dist: the progress file {self.path} cannot be written ({error.strerror}); continuing "
                "without.\n"
            )

    def close(self) -> None:
        """Do nothing: the last snapshot stays."""

    def _forget_ranks_beyond(self, world: int) -> None:
        """Remove what an earlier job on more ranks has left; what cannot be removed stays."""
        for path in self.path.parent.glob("progress-rank-*.json"):
            found = _NAME.fullmatch(path.name)
            if found is not None and int(found[1]) >= world:
                path.unlink(missing_ok=True)


def read_state(output_dir: Path, rank: int) -> Snapshot | None:
    """Read how far a rank is; None where it has not written, or another version has."""
    try:
        return Snapshot.of_dict(json.loads(state_path(output_dir, rank).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def read_states(output_dir: Path) -> list[Snapshot]:
    """Read how far all ranks are, in their order; those that :func:`read_state` does not find are left out."""
    names = [_NAME.fullmatch(path.name) for path in (output_dir / FOLDER).glob("progress-rank-*.json")]
    found = [read_state(output_dir, rank) for rank in sorted(int(name[1]) for name in names if name is not None)]
    known = [one for one in found if one is not None]
    return [one for one in known if one.place.rank < known[0].place.world]
