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
    slopes = torch.stack(batch.own.slopes(estimate.object_HW), dim=1)
    strongest = estimate.probe_PNN[0]
    effect = (slopes * strongest).flatten(2)
    lack = seen.wave_BPNN[:, 0].flatten(1)
    normal = torch.einsum("bik,bjk->bij", effect, effect.conj()).real.double()
    right = torch.einsum("bik,bk->bi", effect.conj(), lack).real.double()
    damping = 1e-3 * normal.diagonal(dim1=1, dim2=2).sum(dim=1).clamp_min(1e-12)
    fitted = torch.linalg.solve(normal + torch.diag_embed(damping[:, None].expand(-1, 2)), right)
    length = fitted.norm(dim=1, keepdim=True)
    bounded: Tensor = fitted * (LONGEST_PX / length.clamp_min(LONGEST_PX))
    return bounded.cpu()
