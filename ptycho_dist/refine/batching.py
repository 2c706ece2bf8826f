"""Which patterns are updated together, a pure function of seed and iteration; and how much they overlap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ptycho_dist.distributed.sharding import shards
from ptycho_dist.types import IntArray

_COARSE_PX = 8
_STREAM = 0x5EF1


def batches(n_patterns: int, batch_size: int, seed: int, iteration: int) -> list[IntArray]:
    """Cut the patterns of one iteration into batches whose members lie far apart in the scan.

    The scan is cut into ``batch_size`` contiguous parts, each in random order, and a
    batch takes one pattern of each. So patterns of a batch hardly overlap, and ranks that
    own contiguous shards have equal work in every batch.

    Parameters
    ----------
    n_patterns, batch_size
        Patterns in the scan, and most of them in a batch.
    seed, iteration
        What the random order depends on.

    Returns
    -------
    list of ndarray, int64
        Pattern numbers, ascending in each batch; every pattern is in exactly one batch.
    """
    random = np.random.default_rng((_STREAM, seed, iteration))
    parts = [part for part in shards(n_patterns, batch_size) if len(part)]
    orders = [part.start + random.permutation(len(part)) for part in parts]
    return [
        np.array([order[place] for order in orders if place < len(order)], np.int64) for place in range(len(orders[0]))
    ]


@dataclass(frozen=True)
class Overlap:
    """How strongly patches of one illumination overlap, in blocks of 8 pixels.

    Parameters
    ----------
    blocks
        Brightest pixel of each block of the illumination, relative to its brightest one.
    """

    blocks: NDArray[np.float64]

    @classmethod
    def of(cls, intensity_nn: Float[Tensor, "n n"]) -> Overlap:
        """Prepare for an illumination."""
        pooled = torch.nn.functional.max_pool2d(intensity_nn.double().cpu()[None], _COARSE_PX, ceil_mode=True)[0]
        return cls((pooled / pooled.max()).numpy())

    def at(self, positions_px: NDArray[np.float64]) -> float:
        """How many times the brightest pixel of one patch the patches at (B, 2) reach together, at least 1."""
        corner = np.rint(positions_px / _COARSE_PX).astype(np.int64)
        corner -= corner.min(axis=0)
        side = len(self.blocks)
        canvas = np.zeros(corner.max(axis=0) + side)
        for y, x in corner.tolist():
            canvas[y : y + side, x : x + side] += self.blocks
        return max(1.0, float(canvas.max()))
