"""Where the patterns really were: a least-squares step of each position."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ptycho_dist.physics.propagators import Propagator
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.exit_wave import Batch, Residual, amplitude_ratio, residual
from ptycho_dist.types import IntArray

REACH_PX, SPACING_PX = 16, 2
"""How far, and on what grid, a lost position is searched for."""
LONGEST_PX = 1.0
"""Longest step of a position in one iteration, in pixels: the model is linear only over about a pixel."""
_LOST, _AT_ONCE = 2.0, 32


def shifts(estimate: Estimate, batch: Batch, found: Residual) -> Tensor:
    """Shifts of this rank's positions that explain the residual best, float64 (B, 2), in pixels.

    A shift changes the exit wave by the probe times the object's slope; the two slopes are fitted to
    the back-projected misfit (Odstrcil et al., Opt. Express 26, 3108 (2018),
    DOI 10.1364/OE.26.003108, section on position refinement, there with one axis at a time).
    """
    strongest = estimate.probe_PNN[0]
    down, across = (_real(slope * strongest) for slope in batch.own.slopes(estimate.object_HW))
    wanted = _real(found.exit_waves_PBNN[0])
    dot = torch.linalg.vecdot
    cross = dot(down, across)
    normal = torch.stack([torch.stack([dot(down, down), cross], 1), torch.stack([cross, dot(across, across)], 1)], 1)
    normal, right = normal.double(), torch.stack([dot(down, wanted), dot(across, wanted)], dim=1).double()
    damping = 1e-3 * normal.diagonal(dim1=1, dim2=2).sum(dim=1).clamp_min(1e-12)
    fitted = torch.linalg.solve_ex(normal + torch.diag_embed(damping[:, None].expand(-1, 2)), right).result
    length = fitted.norm(dim=1, keepdim=True)
    bounded: Tensor = fitted * (LONGEST_PX / length.clamp_min(LONGEST_PX))
    return bounded


def _real(wave_BNN: Tensor) -> Tensor:
    return torch.view_as_real(wave_BNN.contiguous()).flatten(1)


def lost(squared_B: Tensor, photons_B: Tensor) -> IntArray:
    """Numbers of the patterns whose misfit is far above that of most: their positions may be in a wrong minimum.

    At most one pattern in twenty, the worst ones.
    """
    relative = (squared_B / photons_B.clamp_min(1e-12)).numpy()
    suspects = np.flatnonzero(relative > _LOST * np.median(relative))
    worst = np.argsort(relative[suspects])[::-1][: max(1, len(relative) // 20)]
    return np.sort(suspects[worst])


def search(
    estimate: Estimate, propagator: Propagator, number: int, modulus_NN: Tensor, mask_NN: Tensor | None
) -> Tensor:
    """Shift of a position to where on a grid the object explains its pattern best, float64 (2,), in pixels."""
    steps = torch.arange(-REACH_PX, REACH_PX + 1, SPACING_PX, dtype=torch.float64)
    grid = torch.cartesian_prod(steps, steps)
    most = torch.tensor(estimate.canvas_px, dtype=torch.float64) - estimate.N - 1
    here = estimate.positions_px[number]
    places = (here + grid).clamp_min(0).minimum(most)
    found = [_misfits(estimate, propagator, part, modulus_NN, mask_NN) for part in torch.split(places, _AT_ONCE)]
    return places[int(torch.cat(found).argmin())] - here


def _misfits(
    estimate: Estimate, propagator: Propagator, places_px: Tensor, modulus_NN: Tensor, mask_NN: Tensor | None
) -> Tensor:
    """Misfit of one pattern at several places."""
    windows = estimate.windows_at(places_px)
    batch = Batch(windows, slice(0, len(windows)), windows, modulus_NN.expand(len(windows), -1, -1), mask_NN=mask_NN)
    return residual(estimate, batch, propagator, amplitude_ratio).squared_B.cpu()
