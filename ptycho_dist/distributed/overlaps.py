"""Sums over ranks each of which has a rectangle of a canvas: only what rectangles share is sent."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ptycho_dist.distributed.collectives import all_gather_object, swap
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.types import Canvas

_logger = logging.getLogger(__name__)
Part = tuple[slice, slice]


@dataclass(frozen=True)
class Overlaps:
    """Where the rectangle of this rank meets those of others.

    Parameters
    ----------
    parts
        Rows and columns of this rank's rectangle that it shares with another rank, by that rank's number.
    """

    parts: Mapping[int, Part]

    @classmethod
    def of(cls, own: Canvas, context: RankContext) -> Overlaps:
        """Learn of the rectangles of all ranks, whose origins differ by whole pixels; called on every rank."""
        rectangles: list[Canvas] = all_gather_object(own)
        found = {rank: _shared(own, other) for rank, other in enumerate(rectangles) if rank != context.rank}
        return cls({rank: part for rank, part in found.items() if part is not None})

    def add(self, sums_RHW: Tensor) -> None:
        """Add to integer sums of this rank what others have in the same pixels, in place; called on every rank.

        Parameters
        ----------
        sums_RHW : Tensor, int64, shape (R, H, W)
            On the CPU. A pixel of any rank's rectangle has the sum over all ranks afterwards: integers add exactly,
            in any order.
        """
        own = {rank: sums_RHW[:, rows, columns].contiguous() for rank, (rows, columns) in self.parts.items()}
        others = {rank: torch.empty_like(values) for rank, values in own.items()}
        swap(own, others)
        for rank, values in others.items():
            rows, columns = self.parts[rank]
            sums_RHW[:, rows, columns] += values
        _logger.debug("%d bytes sent to %d ranks", sum(one.nbytes for one in own.values()), len(own))


def _shared(own: Canvas, other: Canvas) -> Part | None:
    """Rows and columns of a rectangle that lie in another, too."""
    slices = []
    for axis in (0, 1):
        shift = int(other.origin_px[axis] - own.origin_px[axis])
        first, last = max(0, shift), min(own.shape[axis], shift + other.shape[axis])
        if first >= last:
            return None
        slices.append(slice(first, last))
    return slices[0], slices[1]
