"""What is done to each frame as it is read: zero frequency to the middle, dark, flat, crop or pad, bin, turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.base import BoolArray, PatternSource, Turn
from ptycho_dist.data.formats.dead_pixels import marked
from ptycho_dist.data.formats.measurement import Correction
from ptycho_dist.types import IntArray


@dataclass(frozen=True)
class Window:
    """A square of detector pixels, some of which may lie beyond the frame.

    Parameters
    ----------
    top, left
        First row and column in the frame, may be negative.
    side
        Rows and columns.
    """

    top: int
    left: int
    side: int

    def cut(self, values: NDArray[Any]) -> NDArray[Any]:
        """Take the window out of arrays (..., H, W); what lies beyond them is zero (False). Shape (..., side, side)."""
        height, width = values.shape[-2:]
        rows, columns = _overlap(self.top, self.side, height), _overlap(self.left, self.side, width)
        if rows == (0, self.side) and columns == (0, self.side) and (height, width) == (self.side, self.side):
            return values
        result = np.zeros((*values.shape[:-2], self.side, self.side), values.dtype)
        inside = values[..., rows[0] : rows[1], columns[0] : columns[1]]
        result[..., rows[0] - self.top : rows[1] - self.top, columns[0] - self.left : columns[1] - self.left] = inside
        return result

    def covers(self, shape: tuple[int, int]) -> bool:
        """Tell whether it is the whole frame (H, W), and no more."""
        return (self.top, self.left) == (0, 0) and shape == (self.side, self.side)


def _overlap(first: int, side: int, length: int) -> tuple[int, int]:
    start = min(max(first, 0), length)
    return start, max(start, min(first + side, length))


@dataclass(frozen=True, kw_only=True)
class FrameWork:
    """The steps, in the order in which they are done.

    Parameters
    ----------
    is_corner
        Whether the zero frequency moves from pixel (0, 0) to (H // 2, W // 2).
    valid
        bool, shape (H, W), zero frequency in the middle: pixels that count. The others become zero.
    correction
        Dark, flat and scale, as the file has them.
    square
        Whether amplitudes become counts before they are corrected or binned.
    window, binning
        Pixels that are kept, and how many a side are added.
    turn
        How they are turned.
    dead_values
        Values that mark dead pixels besides the usual ones. In a frame where a valid pixel holds one it becomes NaN,
        as do the usual ones where values are added or corrected, so that none is taken for a count.
    """

    is_corner: bool
    valid: BoolArray
    correction: Correction
    square: bool
    window: Window
    binning: int
    turn: Turn
    dead_values: tuple[float, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the file's frames."""
        return self.valid.shape[0], self.valid.shape[1]

    def place(self, valid: BoolArray) -> BoolArray:
        """Return a mask (H, W) in the order of the file's frames as one (N, N) of the frames it makes."""
        return self._made(np.fft.fftshift(valid) if self.is_corner else valid)

    def mask(self) -> BoolArray:
        """Return the valid pixels of the frames it makes, bool (N, N): of binned pixels those with valid parts only."""
        return self._made(self.valid)

    def _made(self, valid: BoolArray) -> BoolArray:
        kept = self.window.cut(valid)
        n, side = self.binning, self.window.side // self.binning
        blocks = kept.reshape(side, n, side, n)
        return np.array(self.turn(np.asarray(blocks.all(axis=(1, 3)))))

    def is_nothing(self) -> bool:
        """Tell whether frames stay as they are, but for masked pixels, which are left out later."""
        same = self.window.covers(self.shape) and self.turn == Turn()
        return same and not (self.is_corner or self.dead_values or self._mixes())

    def _mixes(self) -> bool:
        """Tell whether values are changed, so that one that marks a dead pixel would not be known again."""
        return bool(self.correction) or self.square or self.binning > 1

    def frames(self, values: NDArray[Any], index: IntArray) -> NDArray[Any]:
        """Make frames (n, N, N) of raw rows (n, H, W), whose numbers are ``index``."""
        values = self._cut(values)
        valid = self.window.cut(self.valid)
        if self.dead_values or self._mixes():
            dead = marked(values, self.dead_values) & valid
            values = np.where(dead, np.float32(np.nan), values.astype(np.float32)) if dead.any() else values
        values = np.where(valid, values, np.zeros((), values.dtype))
        if self.square:
            values = np.square(values.astype(np.float32))
        if self.correction:
            values = self._corrected(values, valid, index)
        return np.ascontiguousarray(self.turn(self._binned(values)))

    def _cut(self, values: NDArray[Any]) -> NDArray[Any]:
        """Take the window out of arrays (..., H, W) in the order of the file."""
        return self.window.cut(np.fft.fftshift(values, axes=(-2, -1)) if self.is_corner else values)

    def _corrected(self, values: NDArray[Any], valid: BoolArray, index: IntArray) -> NDArray[np.float32]:
        result = values.astype(np.float64)
        dark, flat, scale = self.correction.dark, self.correction.flat, self.correction.scale
        if dark is not None:
            result = np.maximum(result - np.where(valid, self._cut(dark), 0), 0.0)
        if flat is not None:
            result = np.divide(result, self._cut(flat), out=np.zeros_like(result), where=valid)
        if scale is not None:
            result *= scale[index][:, None, None]
        return result.astype(np.float32)

    def _binned(self, values: NDArray[Any]) -> NDArray[Any]:
        n = self.binning
        if n == 1:
            return values
        side = self.window.side // n
        blocks = values.reshape(len(values), side, n, side, n)
        if values.dtype.kind in "ub" and values.dtype.itemsize <= 2:
            return np.asarray(blocks.sum(axis=(2, 4), dtype=np.uint32))
        return np.asarray(blocks.sum(axis=(2, 4), dtype=np.float64), np.float32)


class PreparedFrames:
    """Frames of a source, each made by a :class:`FrameWork` when it is read; can be pickled."""

    def __init__(self, source: PatternSource, work: FrameWork) -> None:
        self._source, self._work = source, work

    @property
    def shape(self) -> tuple[int, int, int]:
        """(B, N, N)."""
        side = self._work.window.side // self._work.binning
        return self._source.shape[0], side, side

    def read(self, index: IntArray) -> NDArray[Any]:
        """Return the frames ``index`` (any order, repeats allowed), shape (len(index), N, N)."""
        return self._work.frames(self._source.read(index), index)

    def unwritten(self) -> IntArray:
        """Return the numbers of frames that were declared but never written."""
        return self._source.unwritten()

    def close(self) -> None:
        """Release what the source holds."""
        self._source.close()
