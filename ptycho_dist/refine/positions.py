"""Where the patterns really were: a least-squares step of each position."""

from __future__ import annotations

import torch
from torch import Tensor

from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.waves import Batch, Misfit

LONGEST_PX = 1.0
"""Longest step of a position in one iteration, in pixels: the model is linear only over about a pixel."""


def shifts(estimate: Estimate, batch: Batch, seen: Misfit) -> Tensor:
    """Shifts of this rank's positions that explain the misfit best, float64 (B, 2) on the CPU, in pixels.

    A shift changes the exit wave by the probe times the object's slope; the two slopes are fitted to
    the back-projected misfit (Odstrcil et al., Opt. Express 26, 3108 (2018),
    DOI 10.1364/OE.26.003108, section on position refinement, there with one axis at a time).
    """
    strongest = estimate.probe_PNN[0]
    down, across = (_real(slope * strongest) for slope in batch.own.slopes(estimate.object_HW))
    lack = _real(seen.wave_BPNN[:, 0])
    dot = torch.linalg.vecdot
    cross = dot(down, across)
    normal = torch.stack([torch.stack([dot(down, down), cross], 1), torch.stack([cross, dot(across, across)], 1)], 1)
    normal, right = normal.double(), torch.stack([dot(down, lack), dot(across, lack)], dim=1).double()
    damping = 1e-3 * normal.diagonal(dim1=1, dim2=2).sum(dim=1).clamp_min(1e-12)
    fitted = torch.linalg.solve(normal + torch.diag_embed(damping[:, None].expand(-1, 2)), right)
    length = fitted.norm(dim=1, keepdim=True)
    bounded: Tensor = fitted * (LONGEST_PX / length.clamp_min(LONGEST_PX))
    return bounded.cpu()


def _real(wave_BNN: Tensor) -> Tensor:
    return torch.view_as_real(wave_BNN.contiguous()).flatten(1)
