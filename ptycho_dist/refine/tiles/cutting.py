"""Which patterns make up a tile, and which part of the object: pure functions of positions and settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ptycho_dist.types import Canvas, FloatArray, IntArray


def cut(positions_px: FloatArray, tiles: int) -> list[IntArray]:
    """Cut a scan into tiles of equal counts, by halving it along its longer side again and again.

    Neighbours in the list are neighbours in the scan, so that a run of tiles is compact, too.

    Parameters
    ----------
    positions_px
        Corners (y, x) of the patterns, float64, shape (B, 2).
    tiles
        How many, at most B.

    Returns
    -------
    list of ndarray
        Pattern numbers of each tile, int64, ascending.
    """
    return [np.sort(one) for one in _halve(positions_px, np.arange(len(positions_px)), tiles)]


def _halve(positions_px: FloatArray, numbers: IntArray, tiles: int) -> list[IntArray]:
    if tiles == 1:
        return [numbers]
    here = positions_px[numbers]
    axis = int(np.argmax(np.ptp(here, axis=0)))
    order = numbers[np.lexsort((here[:, 1 - axis], here[:, axis]))]
    left = tiles // 2
    place = round(len(numbers) * left / tiles)
    return [*_halve(positions_px, order[:place], left), *_halve(positions_px, order[place:], tiles - left)]


@dataclass(frozen=True)
class Rectangle:
    """A part of the object's canvas.

    Parameters
    ----------
    low, high
        First row and column, and those after the last.
    """

    low: tuple[int, int]
    high: tuple[int, int]

    @classmethod
    def around(cls, positions_px: FloatArray, side: int, room_px: int, canvas_px: tuple[int, int]) -> Rectangle:
        """Hold the windows of patterns at corners (B, 2), with room to move inside the canvas."""
        low = np.maximum(np.floor(positions_px.min(axis=0)).astype(int) - room_px, 0)
        high = np.minimum(np.floor(positions_px.max(axis=0)).astype(int) + side + 1 + room_px, canvas_px)
        return cls((int(low[0]), int(low[1])), (int(high[0]), int(high[1])))

    def on(self, canvas: Canvas) -> Canvas:
        """Give the part of a canvas that it cuts out."""
        (y, x), (top, left) = self.low, canvas.origin_px
        return Canvas((top + y, left + x), self.shape)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns; not positive where it is empty."""
        return self.high[0] - self.low[0], self.high[1] - self.low[1]

    @property
    def slices(self) -> tuple[slice, slice]:
        """Cuts it out of the canvas."""
        return slice(self.low[0], self.high[0]), slice(self.low[1], self.high[1])

    def inside(self, other: Rectangle) -> tuple[slice, slice]:
        """Cuts it out of another one that holds it."""
        (y, x), (top, left) = self.low, other.low
        return slice(y - top, self.high[0] - top), slice(x - left, self.high[1] - left)

    def common(self, other: Rectangle) -> Rectangle | None:
        """Part that is in both; None where nothing is."""
        low = max(self.low[0], other.low[0]), max(self.low[1], other.low[1])
        high = min(self.high[0], other.high[0]), min(self.high[1], other.high[1])
        found = Rectangle(low, high)
        return found if min(found.shape) > 0 else None


_MOST_ROWS_PX = 256
"""Rows of a gap, so that a rank that fills it holds little of it."""


def gaps(rectangles: Sequence[Rectangle], canvas_px: tuple[int, int]) -> list[Rectangle]:
    """Cut what some rectangles leave uncovered of a canvas into rectangles that do not overlap, top to bottom."""
    rows, columns = canvas_px
    edges = {edge for one in rectangles for edge in (one.low[0], one.high[0])} | {*range(0, rows, _MOST_ROWS_PX), rows}
    found = []
    for top, bottom in pairwise(sorted(edges)):
        covered = [(one.low[1], one.high[1]) for one in rectangles if one.low[0] <= top and bottom <= one.high[0]]
        left = 0
        for begin, end in [*sorted(covered), (columns, columns)]:
            if begin > left:
                found.append(Rectangle((top, left), (bottom, begin)))
            left = max(left, end)
    return found
