"""The Lightning module of a training on a set of scans: one network, and the probe of each scan."""

from __future__ import annotations

from torch import Tensor

from ptycho_dist.data.set_datamodule import SetBatch
from ptycho_dist.physics.optics import Optics, OpticsOptions
from ptycho_dist.physics.probe import select_modes
from ptycho_dist.training.module import PtychoModule
from ptycho_dist.training.objective import Terms, add_terms


class SetModule(PtychoModule):
    """Minimises the misfit over the scans of a set.

    The network is trained and, on request, a scale for each scan. The probe of each scan comes with its patterns and
    stays as supplied, scaled to the mean photons that all patterns are brought to; so the bundle does not grow with
    the set.
    """

    def _terms(self, batch: SetBatch) -> Terms:  # type: ignore[override]  # a set's batches
        """Terms of this rank's share, summed over the scans that it comes from."""
        optics = [self._optics_of(*one) for one in zip(batch.numbers, batch.probes, batch.probe_masks, strict=True)]
        parts = zip(optics, batch.masks, batch.parts, strict=True)
        return add_terms([self.objective.terms(self.model.with_optics(seen, mask), part) for seen, mask, part in parts])

    def _patterns(self, batch: SetBatch) -> int:  # type: ignore[override]  # a set's batches
        """Count the patterns of this rank's share."""
        return sum(len(part.counts) for part in batch.parts)

    def _optics_of(self, number: int, probe_PNN: Tensor, probe_mask_NN: Tensor | None) -> Optics:
        """Probe of one scan of the set, with the scale that is trained for it."""
        modes = select_modes(probe_PNN, len(self.model.optics.probe))
        within = OpticsOptions(support_px=self._support_px, probe_mask_NN=probe_mask_NN)
        optics = Optics(modes, self._photons, within).to(self.model.steps)
        scales = self.model.optics.scan_log_scales
        if scales is not None:
            optics.log_scale = optics.log_scale + scales[number]
        return optics
