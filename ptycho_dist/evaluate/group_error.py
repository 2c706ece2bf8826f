"""Fourier error of what a model predicts for groups of a scan, each group on a canvas of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ptycho_dist.config.schema import DataConfig
from ptycho_dist.data.datamodule import ScanBatch, read_groups
from ptycho_dist.data.grouping import Drawing, draw_groups, members
from ptycho_dist.data.scan import Scan
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.physics.likelihood import sum_valid
from ptycho_dist.types import IntArray

_AT_ONCE, _SEED = 4, (0,)


def spread(count: int, wanted: int) -> IntArray:
    """Choose ``wanted`` of ``count`` numbers (all where there are fewer), evenly spread; ascending, each once."""
    return np.unique(np.linspace(0, count - 1, min(count, max(1, wanted))).round().astype(np.int64))


def spread_groups(scan: Scan, rows: IntArray, data: DataConfig, most_patterns: int) -> list[IntArray]:
    """Choose groups of some patterns of a scan, spread over it, of about ``most_patterns``; always the same ones."""
    positions_px = scan.positions_px[rows]
    groups = draw_groups(positions_px, Drawing.of_scan(data, positions_px, scan.probe_diameter_px), _SEED)
    chosen = spread(len(groups), most_patterns // data.patterns_in_group)
    return [rows[members(groups, int(row))] for row in chosen]


def group_error(model: PtychoModel, scan: Scan, groups: Sequence[IntArray], count_factor: float) -> float:
    """Fourier error of a model's prediction: the number that the loss of a training is the square of.

    Parameters
    ----------
    model
        Network and optics, on any device.
    scan
        Open scan.
    groups
        Pattern indices of each group.
    count_factor
        Factor from the file's counts to photons.
    """
    return fourier_error(summed(lambda some: squared_residual(model, read_groups(scan, some, count_factor)), groups))


def summed(residual_of: Callable[[Sequence[IntArray]], Tensor], groups: Sequence[IntArray]) -> Tensor:
    """Add up what :func:`squared_residual` gives, a few groups at a time."""
    starts = range(0, len(groups), _AT_ONCE)
    return torch.stack([residual_of(groups[start : start + _AT_ONCE]) for start in starts]).sum(dim=0)


def squared_residual(model: PtychoModel, batch: ScanBatch) -> Tensor:
    """Squared residual of a model's prediction, and photons; float64, shape (2,), on the CPU."""
    device, dtype = model.steps.device, model.steps.dtype
    photons, corners = batch.photons.to(device, dtype), batch.corners_px.to(device)
    rows, columns = batch.canvas_px
    with torch.no_grad():
        canvas = model.object_of(photons, corners, (rows, columns), batch.photons_per_count)
        return residual_of_object(model, canvas, corners, photons)


def residual_of_object(model: PtychoModel, object_HW: Tensor, corners_px: Tensor, photons: Tensor) -> Tensor:
    """As :func:`squared_residual`, of patterns (B, N, N) at corners (B, 2) of an object (H, W)."""
    misfit = model.misfit("amplitude", object_HW, corners_px, photons)
    return torch.stack([misfit.double().sum(), sum_valid(photons.double(), model.mask).sum()]).cpu()


def fourier_error(sums: Tensor) -> float:
    """Fourier error from sums of :func:`squared_residual`; NaN of no photons."""
    misfit, photons = sums.tolist()
    return math.sqrt(misfit / photons) if photons > 0 else math.nan
