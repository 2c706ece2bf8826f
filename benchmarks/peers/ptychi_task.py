"""A task of pty-chi on a tike NPZ, from an object of ones and the supplied probe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Task:
    """What is to be run.

    Parameters
    ----------
    method
        lsqml or rpie.
    batch_size
        Patterns in an update.
    refines_probe
        Whether the probe is refined with the object.
    """

    method: str
    batch_size: int
    refines_probe: bool = True


def make_task(scan: Path, settings: Task) -> tuple[Any, torch.Tensor]:
    """Make the task as its examples do; with the counts, DC at the centre."""
    name_missing_operators()
    from ptychi import api
    from ptychi.api.task import PtychographyTask
    from ptychi.utils import get_default_complex_dtype, get_suggested_object_size

    with np.load(scan) as file:
        counts = torch.from_numpy(np.fft.fftshift(file["data"][0], axes=(-2, -1)).astype(np.float32))
        positions, probe = torch.from_numpy(file["scan"][0].astype(np.float32)), torch.from_numpy(file["probe"][0, 0])
    positions = positions - (positions.max(dim=0).values + positions.min(dim=0).values) / 2
    options: Any = api.LSQMLOptions() if settings.method == "lsqml" else api.RPIEOptions()
    options.object_options.pixel_size_m = 1e-8
    options.object_options.optimizable = True
    options.probe_options.optimizable = settings.refines_probe
    options.probe_position_options.optimizable = False
    options.reconstructor_options.batch_size = settings.batch_size
    if settings.method == "lsqml":
        options.reconstructor_options.noise_model = api.NoiseModels.GAUSSIAN
    options.reconstructor_options.default_device = api.Devices.CPU
    size = get_suggested_object_size(positions, probe.shape[-2:], extra=50)
    task = PtychographyTask(
        options,
        diffraction_data=counts,
        object_data=torch.ones([1, *size], dtype=get_default_complex_dtype()),
        probe_data=probe.reshape(1, -1, *probe.shape[-2:]).to(get_default_complex_dtype()),
        probe_position_x_px=positions[:, 1],
        probe_position_y_px=positions[:, 0],
    )
    return task, counts


def name_missing_operators() -> None:
    """Name operators of torchvision's, whose library does not load beside a CPU build of torch; pty-chi needs none.

    Without the names, importing torchvision (for a Gaussian blur in Python) fails.
    """
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
