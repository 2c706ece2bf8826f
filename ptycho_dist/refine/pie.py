"""The ptychographic iterative engine with regularised steps: ePIE (alpha = 1) and rPIE."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ptycho_dist.config.refine import RefineConfig
from ptycho_dist.physics.probe import probe_intensity
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.exit_wave import Batch, Residual, amplitude_ratio
from ptycho_dist.refine.lengths import Crowd, joint_length
from ptycho_dist.refine.methods import PerPattern, Stateless, Update, refinement_method, step_lengths


@dataclass(frozen=True)
class Pie(Stateless):
    """Steps along the back-propagated residual, scaled by the light (or object) that it went through.

    With alpha = 1 the scale is the brightest pixel (Maiden and Rodenburg, Ultramicroscopy 109, 1256
    (2009), DOI 10.1016/j.ultramic.2009.05.012, Eqs. 5 and 6); a smaller alpha takes larger steps in the dark (Maiden
    et al., Optica 4, 736 (2017), DOI 10.1364/OPTICA.4.000736, Eq. 19). A batch of patterns
    is updated at once, with full steps as far as they do not ask for the same (:mod:`~ptycho_dist.refine.lengths`).

    Parameters
    ----------
    alpha
        Between 0 (each pixel by its own light) and 1 (all by the brightest).
    object_step, probe_step
        Step lengths.
    crowd
        Shortens steps where patterns overlap.
    """

    alpha: float
    object_step: float
    probe_step: float
    crowd: Crowd
    ratio = staticmethod(amplitude_ratio)

    def update(self, estimate: Estimate, batch: Batch, residual: Residual, scale: float) -> Update:
        """Change object and probe; see :class:`~ptycho_dist.refine.methods.Method`."""
        guide = estimate.probe_PNN * self._regularised(probe_intensity(estimate.probe_PNN)).reciprocal()
        direction = PerPattern(object_direction(guide, residual))
        steps, *probe_sums = yield [direction, *(probe_direction(residual) if self.probe_step else ())]
        batch.add_to(estimate.object_HW, self.crowd.lengthen(batch, steps), scale * self.object_step)
        if probe_sums:
            change, seen_light, own = probe_sums
            length = joint_length(own, change, len(batch.everyone)) * (scale * self.probe_step)
            estimate.probe_PNN += change * (length / self._regularised(seen_light))

    def _regularised(self, light: Tensor) -> Tensor:
        return light.max() if self.alpha == 1.0 else self.alpha * light.max() + (1 - self.alpha) * light


def object_direction(guide_PNN: Tensor, residual: Residual) -> Tensor:
    """Back-project the residual onto the object: its product with the conjugate guide, summed over modes (B, N, N).

    The guide is the probe, in whatever scale the steps shall have.
    """
    if residual.fused is not None:
        return residual.fused.object_direction(guide_PNN, residual.exit_waves_PBNN)
    if len(guide_PNN) == 1:
        return residual.exit_waves_PBNN[0] * guide_PNN[0].conj()
    return torch.einsum("pbij,pij->bij", residual.exit_waves_PBNN, guide_PNN.conj())


def probe_direction(residual: Residual) -> tuple[Tensor, Tensor, Tensor]:
    """Back-project the residual onto the probe.

    Returns
    -------
    tuple of Tensor
        Change (P, N, N) and intensity of the object patches (N, N), summed over patterns; and the sum of the squares of
        the changes that each pattern asks for.
    """
    if residual.fused is not None:
        return residual.fused.probe_direction(residual.exit_waves_PBNN, residual.patches_BNN)
    conjugate = residual.patches_BNN.conj().resolve_conj()
    each = residual.exit_waves_PBNN * conjugate
    light = conjugate.mul_(residual.patches_BNN).real.sum(dim=0)
    flat = torch.view_as_real(each).reshape(-1)
    return each.sum(dim=1), light, torch.dot(flat, flat)


@refinement_method("pie")
def make_pie(config: RefineConfig, estimate: Estimate) -> Pie:
    """Make the method with the steps of resolved settings."""
    return Pie(config.alpha, *step_lengths(config), Crowd(estimate.object_HW))
