"""The ptychographic iterative engine with regularised steps: ePIE (alpha = 1) and rPIE."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ptycho_dist.physics.probe import probe_intensity
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.exit_wave import Batch, Misfit, amplitude_ratio, intensity
from ptycho_dist.refine.reductions import join_rows, join_sums


class Stateless:
    """A method each of whose updates stands alone: it has no state."""

    def state(self) -> dict[str, Tensor]:
        """Give nothing."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up nothing."""


@dataclass(frozen=True)
class Pie(Stateless):
    """Steps along the back-projected misfit, scaled by the light (or object) that it went through.

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

    def update(self, estimate: Estimate, batch: Batch, seen: Misfit, scale: float) -> None:
        """Change object and probe by what a batch says, the same on every rank."""
        light = probe_intensity(estimate.probe_PNN)
        rows = join_rows(object_direction(estimate.probe_PNN, seen.wave_BPNN), batch.part, len(batch.everyone))
        rows, *probe_sums = join_sums([rows, *(probe_direction(seen) if self.probe_step else ())])
        self._update_object(estimate, batch, rows, light, scale)
        if probe_sums:
            change, seen_light = probe_sums
            estimate.probe_PNN += change * (scale * self.probe_step / self._regularised(seen_light))

    def _update_object(self, estimate: Estimate, batch: Batch, rows: Tensor, light: Tensor, scale: float) -> None:
        factor = scale * self.object_step / batch.crowding
        if self.alpha == 1.0:
            factor /= float(light.max())
        else:
            rows = rows / self._regularised(light)
        batch.everyone.add_to(estimate.object_HW, rows, factor)

    def _regularised(self, light: Tensor) -> Tensor:
        return self.alpha * light.max() + (1 - self.alpha) * light


def object_direction(probe_PNN: Tensor, wave_BPNN: Tensor) -> Tensor:
    """Back-project the misfit onto the object: its product with the conjugate probe, summed over modes (B, N, N)."""
    if len(probe_PNN) == 1:
        return wave_BPNN[:, 0] * probe_PNN[0].conj()
    return torch.einsum("bpij,pij->bij", wave_BPNN, probe_PNN.conj())


def probe_direction(seen: Misfit) -> tuple[Tensor, Tensor]:
    """Back-project the misfit onto the probe (P, N, N), and sum the intensity of the object patches (N, N)."""
    change = (seen.wave_BPNN * seen.patches_BNN.conj()[:, None]).sum(dim=0)
    return change, intensity(seen.patches_BNN, 0)
