"""A scan halved along its longer side again and again: neighbourhoods of at most so many patterns.

What is random is drawn in the order of the parts, so the halving itself is a loop; its sums and sorts are not. A part
is only divided in two sets; within the last parts patterns are put in order for all of them at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ptycho_dist.types import FloatArray, IntArray

_AXIS_FLIP_CHANCE = 0.3
_NEARLY_SQUARE = 0.6


@dataclass(frozen=True)
class Parts:
    """Neighbourhoods of a scan, one after the other.

    Parameters
    ----------
    order
        int64, shape (B,): pattern indices, each once.
    sizes
        int64, shape (K,): patterns of each neighbourhood.
    """

    order: IntArray
    sizes: IntArray

    def split(self) -> list[IntArray]:
        """Pattern indices of each neighbourhood."""
        return np.split(self.order, np.cumsum(self.sizes)[:-1])


def halved(positions_px: FloatArray, most: int, rng: np.random.Generator, *, whole: bool = False) -> Parts:
    """Cut a scan into neighbourhoods of at most ``most`` patterns.

    Parameters
    ----------
    positions_px
        float64, shape (B, 2), (y, x).
    most
        Most patterns of a neighbourhood.
    rng
        Decides where the choice is free: sides nearly equal, an odd number of parts.
    whole
        Whether all neighbourhoods but one hold exactly as many.
    """
    work = _Halving(positions_px, most, whole, rng)
    pending = [(0, len(positions_px), _AS_GIVEN)]
    while pending:
        start, stop, order = pending.pop()
        if stop - start <= most:
            work.finish(start, order, [stop - start])
        else:
            pending.extend(work.halve(start, stop, order))
    return work.parts()


_AS_GIVEN = -1
"""Patterns in the order of their numbers; else an order is 2 * axis + (the other axis decides between equals)."""


@dataclass
class _Halving:
    """State of a halving: patterns, of which each part is a slice, and what is known of the finished parts."""

    positions_px: FloatArray
    most: int
    whole: bool
    rng: np.random.Generator
    orders: dict[int, IntArray] = field(default_factory=dict)
    finished: list[tuple[int, int]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.patterns = np.arange(len(self.positions_px), dtype=np.int64)
        self.columns = np.ascontiguousarray(self.positions_px.T)

    def halve(self, start: int, stop: int, order: int) -> list[tuple[int, int, int]]:
        """Divide a part along its longer side; return its halves, the second first, unless both are finished."""
        part = self.patterns[start:stop]
        count, axis = stop - start, self._axis(part)
        n_parts = math.ceil(count / self.most)
        left = n_parts // 2 + (int(self.rng.integers(2)) if n_parts % 2 else 0)
        cut = left * self.most if self.whole else round(count * left / n_parts)
        order = 2 * axis + (order not in (_AS_GIVEN, 2 * axis))
        if n_parts == 2:
            self.finish(start, order, [cut, count - cut])
            return []
        self.patterns[start:stop] = part[self._ranks(order)[part].argpartition(cut)]
        return [(start + cut, stop, order), (start, start + cut, order)]

    def finish(self, start: int, order: int, sizes: list[int]) -> None:
        """Note the order of a part, and the neighbourhoods that it is."""
        self.finished.append((start, order))
        self.sizes.extend(sizes)

    def parts(self) -> Parts:
        """Put the patterns of each finished part in order."""
        starts, orders = np.array(self.finished, dtype=np.int64).reshape(-1, 2).T
        lengths = np.diff(starts, append=len(self.patterns))
        of_pattern = np.repeat(orders, lengths)
        key = self.patterns.copy()
        for order in {*orders.tolist()} - {_AS_GIVEN}:
            here = of_pattern == order
            key[here] = self._ranks(order)[self.patterns[here]]
        key += np.repeat(np.arange(len(starts)), lengths) * len(self.patterns)
        return Parts(self.patterns[np.argsort(key)], np.array(self.sizes, dtype=np.int64))

    def _axis(self, part: IntArray) -> int:
        """Axis to cut along: that of the longer side, or either where they are nearly equal."""
        here = self.columns.take(part, axis=1)
        height, width = (np.maximum.reduce(here, axis=1) - np.minimum.reduce(here, axis=1)).tolist()
        axis = int(width > height)
        if min(height, width) > _NEARLY_SQUARE * max(height, width) and self.rng.random() < _AXIS_FLIP_CHANCE:
            return 1 - axis
        return axis

    def _ranks(self, order: int) -> IntArray:
        """Place of each pattern in an order of the whole scan; equal positions are in the order of their numbers."""
        if order not in self.orders:
            first, second = self.columns[order // 2], self.columns[1 - order // 2]
            before = np.argsort(second, kind="stable") if order % 2 else np.arange(len(first))
            ranks = np.empty(len(first), np.int64)
            ranks[before[np.argsort(first[before], kind="stable")]] = np.arange(len(first))
            self.orders[order] = ranks
        return self.orders[order]
