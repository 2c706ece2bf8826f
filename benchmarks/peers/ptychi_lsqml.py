"""Run pty-chi's LSQML on a tike NPZ, and tell after each few epochs how far it is.

Run by a Python that has ptychi: ``python ptychi_lsqml.py SCAN.npz OUT.json --epochs 20 --every 2``. Seconds are of
its epochs alone; the Fourier error is of the estimate after them, by its own forward model.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

BATCH = 32


def make_task(scan: Path, batch_size: int) -> tuple[Any, torch.Tensor]:
    """Make the task from ones and the supplied probe, as its examples do; with the counts, DC at the centre."""
    name_missing_operators()
    from ptychi import api
    from ptychi.api.task import PtychographyTask
    from ptychi.utils import get_default_complex_dtype, get_suggested_object_size

    with np.load(scan) as file:
        counts = torch.from_numpy(np.fft.fftshift(file["data"][0], axes=(-2, -1)).astype(np.float32))
        positions, probe = torch.from_numpy(file["scan"][0].astype(np.float32)), torch.from_numpy(file["probe"][0, 0])
    positions = positions - (positions.max(dim=0).values + positions.min(dim=0).values) / 2
    options = api.LSQMLOptions()
    options.object_options.pixel_size_m = 1e-8
    options.object_options.optimizable = options.probe_options.optimizable = True
    options.probe_position_options.optimizable = False
    options.reconstructor_options.batch_size = batch_size
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


def fourier_error(task: Any, counts: torch.Tensor) -> float:
    """Fourier error of the present estimate over all patterns."""
    misfit = 0.0
    with torch.no_grad():
        for start in range(0, len(counts), BATCH):
            rows = torch.arange(start, min(start + BATCH, len(counts)))
            modelled = task.reconstructor.forward_model.forward(rows)
            measured = task.reconstructor.dataset.patterns[rows]
            misfit += float((modelled.clamp_min(0).sqrt() - measured.sqrt()).square().double().sum())
    return float((misfit / counts.double().sum()) ** 0.5)


def main() -> None:
    """Run some epochs at a time, and write (epochs, seconds, Fourier error)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scan", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("--batch_size", type=int, default=96)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    task, counts = make_task(arguments.scan, arguments.batch_size)
    task.run(n_epochs=1)
    curve, seconds, done = [], 0.0, 1
    while done < arguments.epochs:
        started = time.perf_counter()
        task.run(n_epochs=arguments.every)
        seconds += time.perf_counter() - started
        done += arguments.every
        per_epoch = seconds / (done - 1)
        curve.append({"iterations": done, "seconds": per_epoch * done, "fourier_error": fourier_error(task, counts)})
    result = {"n_patterns": len(counts), "curve": curve, "patterns_per_s": len(counts) * (done - 1) / seconds}
    arguments.out.write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
