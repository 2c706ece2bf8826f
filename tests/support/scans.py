"""Small scans made in the test, one writer per file format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent, write_scan_h5


@dataclass(frozen=True)
class MadeScan:
    """A scan with exact truth: counts (B, N, N), corners (B, 2), probe (P, N, N), object (H, W)."""

    counts: NDArray[np.float32]
    positions_px: NDArray[np.float64]
    probe: NDArray[np.complex64]
    object_: NDArray[np.complex64]


def make_scan(n_patterns: int = 12, N: int = 16, n_modes: int = 1, seed: int = 0, photons: float = 1e4) -> MadeScan:
    """Simulate a scan at whole positions: far field of probe times object patch, Poisson noise."""
    rng = np.random.default_rng(seed)
    side = N + 24
    object_ = (rng.uniform(0.7, 1, (side, side)) * np.exp(1j * rng.uniform(0, 1, (side, side)))).astype(np.complex64)
    y, x = np.mgrid[:N, :N] - (N - 1) / 2
    ramps = np.array([(1 + 0.1 * m * x) for m in range(n_modes)])
    probe = (ramps * np.exp(-(y**2 + x**2) / (N / 4) ** 2 + 0.05j * (y**2 + x**2))).astype(np.complex64)
    corners = rng.integers(0, 24, (n_patterns, 2))
    patches = np.stack([object_[a : a + N, b : b + N] for a, b in corners])
    waves = np.fft.fftshift(np.fft.fft2(probe[:, None] * patches, norm="ortho"), axes=(-2, -1))
    intensity = (np.abs(waves) ** 2).sum(0)
    counts = rng.poisson(intensity * photons / intensity.sum((1, 2)).mean()).astype(np.float32)
    return MadeScan(counts, corners.astype(np.float64), probe, object_)


def write_tike(path: Path, made: MadeScan, *, compress: bool = True, **changes: Any) -> Path:
    """Write a tike NPZ; a keyword replaces a member, None leaves it out."""
    members: dict[str, Any] = {
        "data": np.fft.ifftshift(made.counts, axes=(-2, -1))[None],
        "scan": made.positions_px[None].astype(np.float32),
        "probe": made.probe[None, None, None],
    }
    return _save(path, members | changes, compress)


def write_ptychopinn(path: Path, made: MadeScan, *, compress: bool = True, **changes: Any) -> Path:
    """Write a PtychoPINN NPZ of amplitudes; a keyword replaces a member, None leaves it out."""
    centres = made.positions_px + made.probe.shape[-1] / 2
    members: dict[str, Any] = {
        "xcoords": centres[:, 1],
        "ycoords": centres[:, 0],
        "diffraction": np.sqrt(made.counts),
        "probeGuess": made.probe[0],
        "objectGuess": made.object_,
    }
    return _save(path, members | changes, compress)


def write_own(path: Path, made: MadeScan, **changes: Any) -> Path:
    """Write the project's HDF5 layout; a keyword replaces a field of ScanContent."""
    fields: dict[str, Any] = {
        "patterns": [made.counts],
        "positions_px": made.positions_px,
        "probe": made.probe,
        "object_": made.object_,
    }
    return write_scan_h5(path, ScanContent(**(fields | changes)))


def _save(path: Path, members: dict[str, Any], compress: bool) -> Path:
    present = {name: value for name, value in members.items() if value is not None}
    if compress:
        np.savez_compressed(path, **present)
    else:
        np.savez(path, **present)
    return path
