"""What a source of a running scan delivers, and what it counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.base import RawScan
from ptycho_dist.types import FloatArray, IntArray

AT_ONCE = 128
"""Patterns that a source delivers at once at most."""
FIRST = 50
"""Patterns from which on a scan is begun with, unless it ends before."""
_MOST_NAMED = 8


@dataclass(frozen=True)
class Arrived:
    """Patterns that have their positions, each delivered once.

    Parameters
    ----------
    numbers
        int64, shape (n,): numbers in the measurement.
    counts
        Photon counts, shape (n, N, N), DC at the centre.
    positions_px
        float64, shape (n, 2): corners (y, x) in object pixels.
    """

    numbers: IntArray
    counts: NDArray[Any]
    positions_px: FloatArray

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def joined(cls, parts: Sequence[Arrived]) -> Arrived:
        """Join what came one after the other."""
        return cls(*(np.concatenate([getattr(one, name.name) for one in parts]) for name in fields(cls)))


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What has arrived so far.

    Parameters
    ----------
    received
        Frames that came, each counted once.
    waiting
        Frames of these that have no position yet.
    duplicates
        Frames that came again and were dropped.
    out_of_order
        Frames that came after one with a larger number.
    n_missing
        Frames that did not come, though later ones did.
    """

    received: int = 0
    waiting: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    n_missing: int = 0

    def facts(self) -> dict[str, Any]:
        """Entries of the metrics."""
        return {
            "live_received": self.received,
            "live_without_position": self.waiting,
            "live_duplicates": self.duplicates,
            "live_out_of_order": self.out_of_order,
        }

    def __str__(self) -> str:
        parts = [f"{self.received} received"]
        parts += [f"{self.waiting} waiting for their position"] * bool(self.waiting)
        parts += [f"{self.out_of_order} out of order"] * bool(self.out_of_order)
        parts += [f"{self.duplicates} duplicates dropped"] * bool(self.duplicates)
        parts += [f"{self.n_missing} missing"] * bool(self.n_missing)
        return ", ".join(parts)


def named(numbers: tuple[int, ...]) -> str:
    """Name the first of some numbers."""
    shown = ", ".join(str(number) for number in numbers[:_MOST_NAMED])
    return f"{shown} and {len(numbers) - _MOST_NAMED} more" if len(numbers) > _MOST_NAMED else shown


@dataclass(frozen=True)
class Recorded:
    """The scan file of a scan that has ended.

    Parameters
    ----------
    path
        The file.
    is_ours
        Whether it was written here, of patterns that are read as settings say already.
    """

    path: Path
    is_ours: bool


class Source(Protocol):
    """Where a running scan comes from."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def waits_for(self) -> str:
        """What is to come next, in words."""

    @property
    def scan(self) -> RawScan | None:
        """All but patterns and positions of the scan; None until the first patterns are delivered."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come, and all has been delivered."""

    def poll(self) -> Arrived | None:
        """Deliver patterns that are new; None if there are none now."""

    def tally(self) -> Tally:
        """Count what has arrived."""

    def missing(self) -> tuple[int, ...]:
        """Numbers of frames that did not come, though later ones did, or more were announced, ascending."""

    def finish(self, folder: Path) -> Recorded:
        """Give the file of the scan that has ended, written into a folder where there is none that can be read."""

    def close(self) -> None:
        """Let go of files and sockets."""


def gaps(numbers: Sequence[int], announced: int = 0) -> tuple[int, ...]:
    """Return numbers below the largest, or below what was announced, that are not among some, ascending."""
    last = max(announced, max(numbers, default=-1) + 1)
    return () if len(numbers) == last else tuple(np.setdiff1d(np.arange(last), numbers).tolist())
