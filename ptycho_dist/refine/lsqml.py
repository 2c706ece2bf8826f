"""Least-squares maximum likelihood: each pattern's best step along object and probe."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ptycho_dist.physics.probe import probe_intensity
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.exit_wave import Batch, Misfit, amplitude_ratio
from ptycho_dist.refine.pie import Stateless, object_direction, probe_direction
from ptycho_dist.refine.reductions import join_rows, join_sums

_DAMPING = 0.1


@dataclass(frozen=True)
class LeastSquares(Stateless):
    """Directions as in PIE; their lengths solve a 2 by 2 system for each pattern.

    Odstrcil, Menzel and Guizar-Sicairos, Opt. Express 26, 3108 (2018),
    DOI 10.1364/OE.26.003108, Eqs. 22 (steps), 24 and 25 (directions), 27 (updates).

    Parameters
    ----------
    object_step, probe_step
        Factors on the fitted lengths.
    """

    object_step: float
    probe_step: float
    ratio = staticmethod(amplitude_ratio)

    def update(self, estimate: Estimate, batch: Batch, seen: Misfit, scale: float) -> None:
        """Change object and probe by what a batch says, the same on every rank."""
        light = probe_intensity(estimate.probe_PNN)
        toward = object_direction(estimate.probe_PNN, seen.wave_BPNN) / float(light.max())
        probe_toward = torch.zeros_like(estimate.probe_PNN)
        if self.probe_step:
            change, seen_light = join_sums(probe_direction(seen))
            probe_toward = change / seen_light.max()
        steps = _steps(estimate, seen, toward, probe_toward)
        rows = join_rows(toward * steps[:, 0, None, None], batch.part, len(batch.everyone))
        rows, probe_length = join_sums([rows, steps[:, 1].sum()])
        batch.everyone.add_to(estimate.object_HW, rows, scale * self.object_step / batch.crowding)
        if self.probe_step:
            estimate.probe_PNN += probe_toward * (scale * self.probe_step * probe_length / len(batch.everyone))


def _steps(estimate: Estimate, seen: Misfit, toward_BNN: Tensor, probe_toward_PNN: Tensor) -> Tensor:
    """Lengths (B, 2) along the object's and the probe's direction that explain each pattern's misfit best."""
    by_object = (toward_BNN[:, None] * estimate.probe_PNN).flatten(1)
    by_probe = (seen.patches_BNN[:, None] * probe_toward_PNN).flatten(1)
    lack = seen.wave_BPNN.flatten(1)
    one, two = _dot(by_object, by_object), _dot(by_probe, by_probe)
    cross = _dot(by_object, by_probe)
    right = torch.stack([_dot(by_object, lack), _dot(by_probe, lack)], dim=1)
    damped = [value + _DAMPING * value.mean() + 1e-20 for value in (one, two)]
    normal = torch.stack([torch.stack([damped[0], cross], 1), torch.stack([cross, damped[1]], 1)], 1)
    lengths: Tensor = torch.linalg.solve(normal, right)
    return lengths


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Real part of the inner product of each row, the first conjugated."""
    product: Tensor = torch.linalg.vecdot(torch.view_as_real(one).flatten(1), torch.view_as_real(other).flatten(1))
    return product
