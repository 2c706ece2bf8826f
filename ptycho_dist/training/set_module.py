"""The Lightning module of a training on a set of scans: one network, and the probe of each scan."""

from __future__ import annotations

from torch import Tensor

from ptycho_dist.data.datamodule import StepBatch
from ptycho_dist.data.set_datamodule import SetBatch
from ptycho_dist.physics.forward import ForwardModel, Optics
from ptycho_dist.physics.probe import select_modes
from ptycho_dist.training.module import PtychoModule
from ptycho_dist.training.objective import Terms, add_terms


class SetModule(PtychoModule):
    """Minimises the misfit over the scans of a set.

    Only the network is trained. The probe of each scan comes with its patterns and stays as supplied,
    scaled to the mean photons that all patterns are brought to; so weights do not grow with the set.
    """

    def _terms(self, batch: SetBatch) -> Terms:  # type: ignore[override]  # a set's batches
        """Terms of this rank's share, summed over the scans that it comes from."""
        parts = zip(batch.parts, batch.probes, batch.masks, strict=True)
        return add_terms([self._terms_in(part, probe, mask) for part, probe, mask in parts])

    def _patterns(self, batch: SetBatch) -> int:  # type: ignore[override]  # a set's batches
        """Count the patterns of this rank's share."""
        return sum(len(part.counts) for part in batch.parts)

    def _terms_in(self, part: StepBatch, probe_PNN: Tensor, mask_NN: Tensor | None) -> Terms:
        """Terms of patterns of one scan, under its own probe and mask."""
        modes = select_modes(probe_PNN, len(self.model.optics.probe))
        optics = ForwardModel(modes, self._photons, Optics(support_px=self._support_px))
        return self.objective.terms(self.model.with_optics(optics.to(self.model.steps), mask_NN), part)
