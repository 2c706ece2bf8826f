"""Fourier error of what a model predicts for groups of a scan, each group on a canvas of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ptycho_dist.data.datamodule import read_groups
from ptycho_dist.data.scan import Scan
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.physics.likelihood import sum_valid
from ptycho_dist.types import IntArray

_AT_ONCE = 4


def spread(count: int, wanted: int) -> IntArray:
    """Choose ``wanted`` of ``count`` numbers (all where there are fewer), evenly spread; ascending, each once."""
    return np.unique(np.linspace(0, count - 1, min(count, max(1, wanted))).round().astype(np.int64))


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
    sums = torch.zeros(2, dtype=torch.float64)
    for start in range(0, len(groups), _AT_ONCE):
        sums += _sums(model, scan, groups[start : start + _AT_ONCE], count_factor)
    misfit, photons = sums.tolist()
    return math.sqrt(misfit / photons) if photons > 0 else math.nan


def _sums(model: PtychoModel, scan: Scan, groups: Sequence[IntArray], count_factor: float) -> Tensor:
    """Misfit and photons of some groups, float64, shape (2,)."""
    batch = read_groups(scan, groups, count_factor)
    device, dtype = model.steps.device, model.steps.dtype
    photons = batch.photons.to(device, dtype)
    corners, (rows, columns) = batch.corners_px.to(device), batch.canvas_px.tolist()
    with torch.no_grad():
        canvas = model.object_of(photons, corners, (rows, columns), 1 / count_factor)
        misfit = model.misfit("amplitude", canvas, corners, photons)
    return torch.stack([misfit.double().sum(), sum_valid(photons.double(), model.mask).sum()]).cpu()
