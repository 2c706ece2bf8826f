"""Scans whose every unknown is known, for tests of the refinement."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent, write_scan_h5
from ptycho_dist.physics.patches import extract
from ptycho_dist.physics.probe import select_modes
from ptycho_dist.physics.propagators import FarField, Propagator


@dataclass(frozen=True)
class Truth:
    """What a scan was made from.

    Parameters
    ----------
    path
        Scan file, with nominal positions.
    object_
        complex128, shape (H, W); its pixel (0, 0) is at the origin of the positions.
    probe
        complex128, shape (P, N, N), squares to counts.
    positions_px
        True corners, float64, shape (B, 2).
    """

    path: Path
    object_: NDArray[np.complex128]
    probe: NDArray[np.complex128]
    positions_px: NDArray[np.float64]


def make_truth(
    path: Path, *, N: int = 32, across: int = 7, step_px: float = 4.3, n_modes: int = 1, photons: float = 1e6,
    propagator: Propagator | None = None, flux: NDArray[np.float64] | None = None, background: float = 0.0,
    nominal_px: NDArray[np.float64] | None = None, **content: Any,
) -> Truth:  # fmt: skip
    """Simulate a noise-free scan of ``across`` squared patterns on a grid with jitter, and write it."""
    rng = np.random.default_rng(5)
    grid = np.stack(np.meshgrid(np.arange(across), np.arange(across), indexing="ij"), -1).reshape(-1, 2)
    positions = 3 + grid * step_px + rng.uniform(-1, 1, grid.shape)
    side = int(positions.max()) + N + 4
    smooth = [gaussian_filter(rng.standard_normal((side, side)), 1.5) * 4 for _ in range(2)]
    object_ = (0.9 + 0.05 * np.tanh(smooth[0])) * np.exp(0.6j * smooth[1])
    probe = _probe(N, n_modes) * np.sqrt(photons)
    propagator = propagator or FarField()
    patches = extract(torch.from_numpy(object_), torch.from_numpy(positions), N)
    counts = propagator.forward(patches[:, None] * torch.from_numpy(probe)).abs().square().sum(dim=1).numpy()
    if flux is not None:
        counts *= flux[:, None, None]
    if isinstance(propagator, FarField):
        counts = np.fft.fftshift(counts, axes=(-2, -1))
    named = positions if nominal_px is None else nominal_px
    patterns = [(counts + background).astype(np.float32)]
    write_scan_h5(path, ScanContent(patterns=patterns, positions_px=named, probe=probe.astype(np.complex64), **content))
    return Truth(path, object_, probe, positions)


def _probe(N: int, n_modes: int) -> NDArray[np.complex128]:
    """Make a curved Gaussian of unit energy, and weaker modes from ramps of it."""
    y, x = np.mgrid[:N, :N] - (N - 1) / 2
    first = np.exp(-(y**2 + x**2) / (N / 5) ** 2 + 0.06j * (y**2 + 0.7 * x**2))
    modes = select_modes(torch.from_numpy(first)[None], n_modes).numpy()
    modes[1:] *= 3
    return np.asarray(modes / np.sqrt((np.abs(modes) ** 2).sum()))
