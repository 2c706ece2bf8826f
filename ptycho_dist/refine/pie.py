"""The ptychographic iterative engine with regularised steps: ePIE (alpha = 1) and rPIE."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ptycho_dist.config.refine import RefineConfig
from ptycho_dist.physics.probe import probe_intensity, summed_intensity
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.exit_wave import Batch, Residual, amplitude_ratio
from ptycho_dist.refine.methods import PerPattern, Stateless, Update, refinement_method, step_lengths


@dataclass(frozen=True)
class Pie(Stateless):
    """Steps along the back-propagated residual, scaled by the light (or object) that it went through.

    With alpha = 1 the scale is the brightest pixel (Maiden and Rodenburg, Ultramicroscopy 109, 1256
    (2009), DOI 10.1016/j.ultramic.2009.05.012, Eqs. 5 and 6); a smaller alpha takes larger steps in the dark (Maiden
    et al., Optica 4, 736 (2017), DOI 10.1364/OPTICA.4.000736, Eq. 19). A batch of patterns
    is updated at once; where they overlap, the step is shorter in proportion.

    Parameters
    ----------
    alpha
        Between 0 (each pixel by its own light) and 1 (all by the brightest).
    object_step, probe_step
        Step lengths.
    """

    alpha: float
    object_step: float
    probe_step: float
    ratio = staticmethod(amplitude_ratio)

    def update(self, estimate: Estimate, batch: Batch, residual: Residual, scale: float) -> Update:
        """Change object and probe; see :class:`~ptycho_dist.refine.methods.Method`."""
        light = probe_intensity(estimate.probe_PNN)
        direction = PerPattern(object_direction(estimate.probe_PNN, residual))
        rows, *probe_sums = yield [direction, *(probe_direction(residual) if self.probe_step else ())]
        self._update_object(estimate, batch, rows, light, scale)
        if probe_sums:
            change, seen_light = probe_sums
            estimate.probe_PNN += change * (scale * self.probe_step / self._regularised(seen_light))

    def _update_object(self, estimate: Estimate, batch: Batch, rows: Tensor, light: Tensor, scale: float) -> None:
        factor = scale * self.object_step / batch.overlap
        if self.alpha == 1.0:
            factor /= float(light.max())
        else:
            rows = rows / self._regularised(light)
        batch.everyone.add_to(estimate.object_HW, rows, factor)

    def _regularised(self, light: Tensor) -> Tensor:
        return self.alpha * light.max() + (1 - self.alpha) * light


def object_direction(probe_PNN: Tensor, residual: Residual) -> Tensor:
    """Back-project the residual onto the object: its product with the conjugate probe, summed over modes (B, N, N)."""
    if len(probe_PNN) == 1:
        return residual.exit_waves_PBNN[0] * probe_PNN[0].conj()
    return torch.einsum("pbij,pij->bij", residual.exit_waves_PBNN, probe_PNN.conj())


def probe_direction(residual: Residual) -> tuple[Tensor, Tensor]:
    """Back-project the residual onto the probe (P, N, N), and sum the intensity of the object patches (N, N)."""
    change = (residual.exit_waves_PBNN * residual.patches_BNN.conj()).sum(dim=1)
    return change, summed_intensity(residual.patches_BNN)


@refinement_method("pie")
def make_pie(config: RefineConfig, estimate: Estimate) -> Pie:
    """Make the method with the steps of resolved settings."""
    return Pie(config.alpha, *step_lengths(config))
