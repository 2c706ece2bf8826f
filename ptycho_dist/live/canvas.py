"""A canvas that grows with the scan."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ptycho_dist.types import Canvas

_ROOM = 0.5
"""Room on each side when a canvas must grow, as a share of what it had."""


class GrowingCanvas:
    """Weighted sums, in layers, and the sum of weights, on a rectangle that grows when it must.

    Each growth takes room for more, so that all growths together cost about as much as the last.

    Parameters
    ----------
    layers
        Number of sums.
    dtype, device
        Of the sums, complex.
    """

    def __init__(self, layers: int, dtype: torch.dtype, device: torch.device) -> None:
        self._layers, self._dtype, self._device = layers, dtype, device
        self._whole = Canvas((0.0, 0.0), (0, 0))
        self._sums: list[Tensor] = []
        self._weight = torch.empty(0, 0)
        self.used = self._whole

    def hold(self, tile: Canvas) -> None:
        """Make room for a rectangle of whole pixels."""
        if not self._sums:
            self.used = tile
            self._whole = tile
            self._sums = [torch.zeros(tile.shape, dtype=self._dtype, device=self._device) for _ in range(self._layers)]
            self._weight = torch.zeros(tile.shape, dtype=self._sums[0].real.dtype, device=self._device)
            return
        self.used = _joined(self.used, tile)
        if _joined(self._whole, tile) != self._whole:
            self._grow(_with_room(self._whole, self.used))

    def on(self, tile: Canvas) -> tuple[list[Tensor], Tensor]:
        """Give sums (h, w) and weight (h, w) on a part that is held: views, to be added to."""
        part = _inside(tile, self._whole)
        return [one[part] for one in self._sums], self._weight[part]

    def _grow(self, whole: Canvas) -> None:
        part = _inside(self._whole, whole)

        def moved(values: Tensor) -> Tensor:
            larger = values.new_zeros(whole.shape)
            larger[part] = values
            return larger

        self._sums, self._weight = [moved(one) for one in self._sums], moved(self._weight)
        self._whole = whole


def _inside(part: Canvas, whole: Canvas) -> tuple[slice, slice]:
    """Index of a part in an array of the whole."""
    y, x = (a - b for a, b in zip(part.corner, whole.corner, strict=True))
    return slice(y, y + part.shape[0]), slice(x, x + part.shape[1])


def _joined(one: Canvas, other: Canvas) -> Canvas:
    low = np.minimum(one.corner, other.corner)
    high = np.maximum(np.add(one.corner, one.shape), np.add(other.corner, other.shape))
    return _between(low, high)


def _with_room(had: Canvas, needed: Canvas) -> Canvas:
    """Rectangle around both, with room on the sides that had to grow."""
    both = _joined(had, needed)
    low, high = np.array(both.corner), np.add(both.corner, both.shape)
    room = np.ceil(_ROOM * np.array(both.shape)).astype(int)
    low = np.where(low < had.corner, low - room, low)
    high = np.where(high > np.add(had.corner, had.shape), high + room, high)
    return _between(low, high)


def _between(low: np.ndarray, high: np.ndarray) -> Canvas:
    return Canvas((float(low[0]), float(low[1])), (int(high[0] - low[0]), int(high[1] - low[1])))
