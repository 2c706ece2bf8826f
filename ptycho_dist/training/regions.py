"""A few regions of the object, held against all patterns that see them: what a stitched result will be like."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ptycho_dist.data.datamodule import ScanBatch
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.physics.likelihood import sum_valid


class Regions:
    """Neighbouring patterns at a few places, always the same ones.

    Training groups of a dense scan hold some of the patterns of a place; here are all of them.

    Parameters
    ----------
    batches
        Patterns of one region each.
    """

    def __init__(self, batches: Sequence[ScanBatch]) -> None:
        self.batches = tuple(batches)

    def to(self, device: torch.device, dtype: torch.dtype) -> Regions:
        """Return the same on a device."""
        return Regions([_moved(batch, device, dtype) for batch in self.batches])

    def squares(self, model: PtychoModel, batch: ScanBatch) -> Tensor:
        """Squared residual and photons of a region, float64, shape (2,)."""
        photons = batch.photons
        rows, columns = (int(side) for side in batch.canvas_px)
        canvas = model.object_of(photons, batch.corners_px, (rows, columns), 1 / float(batch.count_factor))
        misfit = model.misfit("amplitude", canvas, batch.corners_px, photons).double().sum()
        return torch.stack([misfit, sum_valid(photons.double(), model.mask).sum()])


def _moved(batch: ScanBatch, device: torch.device, dtype: torch.dtype) -> ScanBatch:
    moved = (one.to(device) if isinstance(one, Tensor) else one for one in batch)
    whole = ScanBatch(*moved)  # type: ignore[arg-type]  # the fields of a batch, in its own order
    return whole._replace(count_factor=whole.count_factor.to(dtype))
