"""Folders of results made without a job, as large or as odd as a test needs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ptycho_dist.data.formats.product import ProductGeometry
from ptycho_dist.data.formats.product_h5 import ProductWriter
from ptycho_dist.types import ProductMetadata


def smooth_object(shape: tuple[int, int], seed: int = 0) -> NDArray[np.complex64]:
    """Make an object of smooth blobs, amplitude around 1, phase within about one radian."""
    rng = np.random.default_rng(seed)
    coarse = [rng.standard_normal((shape[0] // 4 + 2, shape[1] // 4 + 2)) for _ in range(2)]
    fields = [ndimage.zoom(ndimage.gaussian_filter(one, 2), 4, order=1)[: shape[0], : shape[1]] * 4 for one in coarse]
    return np.asarray((1 + 0.2 * fields[0]) * np.exp(0.5j * fields[1]), np.complex64)


def hermite_probe(N: int, n_modes: int) -> NDArray[np.complex64]:
    """Make modes of a curved Gaussian beam, each weaker than the one before."""
    axis = np.linspace(-2.5, 2.5, N)
    beam = 30 * np.exp(-(axis[:, None] ** 2) - axis**2 + 1.5j * (axis[:, None] ** 2 + axis**2))
    ramps = [np.ones((N, N)), axis[:, None] * np.ones(N), axis * np.ones((N, 1)), axis[:, None] * axis]
    return np.stack([0.5**k * ramps[k] * beam for k in range(n_modes)]).astype(np.complex64)


def grid_positions(count: int, shape: tuple[int, int], N: int) -> NDArray[np.float64]:
    """Spread patch corners evenly over an object."""
    free = np.array(shape) - N - 1
    across = int(np.ceil(np.sqrt(count * free[1] / free[0])))
    rows = int(np.ceil(count / across))
    y, x = np.meshgrid(np.linspace(0, free[0], rows), np.linspace(0, free[1], across), indexing="ij")
    return np.stack([y.ravel(), x.ravel()], axis=1)[:count]


def write_product(
    path: Path, object_: NDArray[np.complex64], probe: NDArray[np.complex64], count: int, pixel_size_m: float = 1e-8
) -> Path:
    """Write a product of some patterns, spread over the object, at 8 keV."""
    geometry = ProductGeometry(N=probe.shape[-1], pixel_size_m=pixel_size_m)
    metadata = ProductMetadata(name="made", probe_energy_eV=8000.0, detector_object_distance_m=1.0)
    rows, columns = object_.shape
    with ProductWriter(path, metadata, (rows, columns), geometry) as writer:
        writer.write_object_tile((0, 0), object_)
        writer.write_probe(probe)
        writer.write_positions(grid_positions(count, (rows, columns), probe.shape[-1]))
        writer.write_losses([0.3, 0.2, 0.15])
    return path


def write_results(folder: Path, shape: tuple[int, int] = (96, 128), *, count: int = 40, n_modes: int = 1) -> Path:
    """Write a product with metrics and a table of errors that grow with the number of the pattern."""
    folder.mkdir(parents=True, exist_ok=True)
    write_product(folder / "reconstruction.h5", smooth_object(shape), hermite_probe(32, n_modes), count)
    metrics: dict[str, Any] = {
        "product": "reconstruction.h5",
        "n_patterns": count,
        "fourier_error": 0.15,
        "normalised_error": 1.1,
        "verdict": "explains the frames to photon noise (1.10 times)",
        "explains_patterns": True,
        "frames_standing_out": [count - 1],
        "n_frames_standing_out": 1,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    positions = grid_positions(count, shape, 32)
    with (folder / "frames.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("pattern", "y_px", "x_px", "counts", "fourier_error", "normalised_error"))
        for row, (y, x) in enumerate(positions):
            table.writerow([row, f"{y:.3f}", f"{x:.3f}", 1000 + row, 0.1 + row / count / 10, 1 + row / count])
    return folder
