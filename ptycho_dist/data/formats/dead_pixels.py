"""Detector pixels that do not count: marked by values, or hot, found in a sample of frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from ptycho_dist.data.formats.base import BoolArray
from ptycho_dist.types import FloatArray

_FLAGS_32 = 2**32 - 3
"""Numbers from here on mark gaps and dead pixels of 32-bit detectors."""
_FULL_16 = 2**16 - 1
_NEGATIVE_FLAGS = (-1, -2)
_WIDE_BYTES = 4
_HOT_SIGMA = 5.0
_HOT_AROUND = 5


class FrameSample:
    """What a sample of frames says of the pixels; frames are added one by one.

    Parameters
    ----------
    shape
        (H, W).
    dead_values
        Values that mark a dead pixel besides the usual ones.
    """

    def __init__(self, shape: tuple[int, ...], dead_values: tuple[float, ...] = ()) -> None:
        self._dead_values = dead_values
        self._dead = np.zeros(shape, np.bool_)
        self._always = np.ones(shape, np.bool_)
        self._sums = np.zeros(shape, np.float64)
        self._numbers = np.zeros(shape, np.int64)
        self.count, self.lowest = 0, 0.0

    def add(self, frame: NDArray[Any]) -> None:
        """Add a frame (H, W) of raw values.

        A pixel is dead that holds NaN or infinity, a value of ``dead_values``, 2^32 - 3 or more, or the maximum of a
        16-bit type in any frame, or -1 or -2 in a type with sign of whole numbers; and one that is -1, -2 or 2^16 - 1
        in every frame, whatever the type.
        """
        dead = marked(frame, self._dead_values)
        flags = (frame == _FULL_16) if frame.dtype.kind == "u" else _one_of(frame, (*_NEGATIVE_FLAGS, _FULL_16))
        usable = ~(dead | flags)
        counts = np.where(usable, frame, 0).astype(np.float64)
        self._dead |= dead
        self._always &= flags
        self._sums += counts
        self._numbers += usable
        self.lowest = min(self.lowest, float(counts.min()))
        self.count += 1

    @property
    def unusable(self) -> BoolArray:
        """Dead pixels, bool (H, W)."""
        return self._dead | self._always

    @property
    def mean(self) -> FloatArray:
        """Mean of the usable values of each pixel, float64 (H, W); 0 where there are none."""
        return self._sums / np.maximum(self._numbers, 1)


def marked(values: NDArray[Any], dead_values: tuple[float, ...] = ()) -> BoolArray:
    """Tell which raw values, of any shape, mark dead pixels wherever they occur; see :meth:`FrameSample.add`."""
    is_real = values.dtype.kind == "f"
    found = ~np.isfinite(values) if is_real else np.zeros(values.shape, np.bool_)
    if is_real or values.dtype.itemsize >= _WIDE_BYTES:
        found |= values >= _FLAGS_32
    if values.dtype.kind == "u" and values.dtype.itemsize == _WIDE_BYTES // 2:
        found |= values == _FULL_16
    if values.dtype.kind == "i":
        found |= _one_of(values, _NEGATIVE_FLAGS)
    return found | _one_of(values, dead_values) if dead_values else found


def _one_of(frame: NDArray[Any], values: Iterable[float]) -> BoolArray:
    found = np.zeros(frame.shape, np.bool_)
    for value in values:
        found |= frame == value
    return found


def hot_pixels(mean: FloatArray, valid: BoolArray, count: int, ratio: float) -> BoolArray:
    """Find pixels far brighter than those around them.

    Parameters
    ----------
    mean
        float64 (H, W): mean counts of ``count`` frames.
    valid
        bool (H, W): pixels that count.
    ratio
        How many times the median of the 5 x 5 pixels around it the mean of a hot pixel exceeds; it also exceeds that
        median by 5 standard deviations of its Poisson noise.
    """
    around = median_filter(np.where(valid, mean, 0.0), _HOT_AROUND, mode="nearest")
    noise = _HOT_SIGMA * np.sqrt(np.maximum(around, 1.0 / count) / count)
    return np.asarray(valid & (mean > ratio * around) & (mean > around + noise))


def centre_of_mass(mean: FloatArray, valid: BoolArray) -> tuple[float, float]:
    """Return the centre of mass (y, x) of a mean pattern over its valid pixels; the middle of an empty one."""
    counts = np.where(valid, np.maximum(mean, 0.0), 0.0)
    total = float(counts.sum())
    height, width = counts.shape
    if total == 0:
        return height // 2, width // 2
    return (
        float((counts.sum(axis=1) * np.arange(height)).sum() / total),
        float((counts.sum(axis=0) * np.arange(width)).sum() / total),
    )
