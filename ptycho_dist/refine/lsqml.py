"""Least-squares maximum likelihood: each pattern's best step along object and probe."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ptycho_dist.config.refine import RefineConfig
from ptycho_dist.physics.probe import probe_intensity
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.exit_wave import Batch, Residual, amplitude_ratio
from ptycho_dist.refine.lengths import Crowd, inner, joint_length
from ptycho_dist.refine.methods import PerPattern, Stateless, Update, refinement_method, step_lengths
from ptycho_dist.refine.pie import object_direction, probe_direction

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
    crowd
        Shortens steps where patterns overlap.
    """

    object_step: float
    probe_step: float
    crowd: Crowd
    ratio = staticmethod(amplitude_ratio)

    def update(self, estimate: Estimate, batch: Batch, residual: Residual, scale: float) -> Update:
        """Change object and probe; see :class:`~ptycho_dist.refine.methods.Method`."""
        light = probe_intensity(estimate.probe_PNN)
        direction = object_direction(estimate.probe_PNN * light.max().reciprocal(), residual)
        probe_step = torch.zeros_like(estimate.probe_PNN)
        if self.probe_step:
            change, seen_light, own = yield probe_direction(residual)
            probe_step = change * (joint_length(own, change, len(batch.everyone)) / seen_light.max())
        lengths = _step_lengths(estimate, residual, direction, probe_step)
        rows, probe_length = yield [PerPattern(direction * lengths[:, 0, None, None]), lengths[:, 1].sum()]
        batch.add_to(estimate.object_HW, self.crowd.lengthen(batch, rows), scale * self.object_step)
        if self.probe_step:
            estimate.probe_PNN += probe_step * (scale * self.probe_step * probe_length / len(batch.everyone))


def _step_lengths(estimate: Estimate, residual: Residual, direction_BNN: Tensor, probe_step_PNN: Tensor) -> Tensor:
    """Lengths (B, 2) along the object's and the probe's direction that explain each pattern's residual best."""
    one, two, cross, *wanted = _products(estimate.probe_PNN, residual, direction_BNN, probe_step_PNN)
    right = torch.stack(wanted, dim=1)
    damped = [value + _DAMPING * value.mean() + 1e-20 for value in (one, two)]
    normal = torch.stack([torch.stack([damped[0], cross], 1), torch.stack([cross, damped[1]], 1)], 1)
    lengths: Tensor = torch.linalg.solve_ex(normal, right).result
    return lengths


def _products(
    probe_PNN: Tensor, residual: Residual, direction_BNN: Tensor, probe_step_PNN: Tensor
) -> tuple[Tensor, ...]:
    """Inner products (B,) of what the two steps do: object, probe, both; and of each with what is wanted."""
    wanted = residual.exit_waves_PBNN
    if residual.fused is not None:
        return residual.fused.step_products(direction_BNN, probe_PNN, residual.patches_BNN, probe_step_PNN, wanted)
    by_object = direction_BNN * probe_PNN[:, None]
    by_probe = residual.patches_BNN * probe_step_PNN[:, None]
    own = (_dot(by_object, by_object), _dot(by_probe, by_probe), _dot(by_object, by_probe))
    return (*own, _dot(by_object, wanted), _dot(by_probe, wanted))


def _dot(one_PBNN: Tensor, other_PBNN: Tensor) -> Tensor:
    """Real part of the inner product (B,) of the waves of each pattern, the first conjugated."""
    return inner(one_PBNN, other_PBNN).sum(dim=0)


@refinement_method("lsqml")
def make_lsqml(config: RefineConfig, estimate: Estimate) -> LeastSquares:
    """Make the method with the steps of resolved settings."""
    return LeastSquares(*step_lengths(config), Crowd(estimate.object_HW))
