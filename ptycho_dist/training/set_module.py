"""The Lightning module of a training on a set of scans: one network, and the probe of each scan."""

from __future__ import annotations

import torch
from torch import Tensor

from ptycho_dist.data.datamodule import StepBatch
from ptycho_dist.data.set_datamodule import SetBatch
from ptycho_dist.physics.forward import ForwardModel, Optics
from ptycho_dist.physics.probe import select_modes
from ptycho_dist.training.module import PtychoModule


class SetModule(PtychoModule):
    """Minimises the misfit over the scans of a set.

    Only the network is trained. The probe of each scan comes with its patterns and stays as supplied,
    scaled to the mean photons that all patterns are brought to; so weights do not grow with the set.
    """

    def validation_step(self, batch: SetBatch, batch_idx: int) -> None:  # type: ignore[override]  # a set's batches
        """Add this rank's share to the validation loss."""
        patterns = sum(len(part.counts) for part in batch.parts)
        self._val_sums += torch.tensor([float(self._misfit(batch)), float(batch.weight) * patterns])

    def _misfit(self, batch: SetBatch) -> Tensor:  # type: ignore[override]  # a set's batches
        """Misfit of this rank's share, summed over the scans that it comes from."""
        parts = zip(batch.parts, batch.probes, batch.masks, strict=True)
        return torch.stack([self._misfit_in(part, probe, mask) for part, probe, mask in parts]).sum()

    def _misfit_in(self, part: StepBatch, probe_PNN: Tensor, mask_NN: Tensor | None) -> Tensor:
        """Misfit of patterns of one scan, under its own probe and mask."""
        modes = select_modes(probe_PNN, len(self.model.optics.probe))
        optics = ForwardModel(modes, self._photons, Optics(support_px=self._support_px))
        return self._misfit_of(self.model.with_optics(optics.to(self.model.steps), mask_NN), part)
