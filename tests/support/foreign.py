"""Scans in the layouts of other programs, made in the test, and what a reader is to find in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptycho_dist.data.scan import ScanOptions, open_scan
from tests.support.scans import make_scan

ENERGY_EV, DISTANCE_M, DETECTOR_PIXEL_M, N = 9200.0, 2.1, 60e-6, 16
JOULE = 1.602176634e-19
WAVELENGTH_M = 1.23984198e-6 / ENERGY_EV
DX_M = WAVELENGTH_M * DISTANCE_M / (N * DETECTOR_PIXEL_M)
MADE = make_scan(n_patterns=14, N=N, n_modes=2, seed=4)
POSITIONS_PX = MADE.positions_px + np.random.default_rng(8).uniform(-0.4, 0.4, (14, 2))
BAD = ((2, 3), (9, 14))
COUNTS = MADE.counts.astype(np.uint16)
COUNTS[:, [2, 9], [3, 14]] = 0
RAW = COUNTS.copy()
RAW[:, [2, 9], [3, 14]] = 65535
"""As the detector gives them: bad pixels are full."""


def valid() -> NDArray[np.bool_]:
    """Mark the valid pixels."""
    mask = np.ones((N, N), np.bool_)
    mask[[2, 9], [3, 14]] = False
    return mask


def write_hdf5(path: Path, content: dict[str, Any], attributes: dict[str, Any] | None = None) -> Path:
    """Write datasets and links by their paths; None leaves one out. Attributes are named ``dataset@name``."""
    with h5py.File(path, "w") as file:
        for key, value in content.items():
            if isinstance(value, h5py.SoftLink | h5py.ExternalLink):
                file[key] = value
            elif value is not None:
                file.create_dataset(key, data=value)
        for key, value in (attributes or {}).items():
            place, _, name = key.rpartition("@")
            (file if not place else file[place]).attrs[name] = value
    return path


def require_scan(
    path: Path,
    reader: str,
    options: ScanOptions | None = None,
    *,
    rows: ArrayLike | None = None,
    dx_m: float | None = DX_M,
    masked: bool = True,
) -> None:
    """Open a scan and compare it with the one that was made.

    Parameters
    ----------
    path, reader, options
        File, name of the reader to be found, how it is opened.
    rows
        Which of the made patterns it has, in its order; all where None.
    dx_m
        Object pixel; None where the file does not tell.
    masked
        Whether it tells the bad pixels.
    """
    chosen = np.arange(14) if rows is None else np.asarray(rows)
    with open_scan(path, options) as scan:
        assert scan.header.format_name == reader
        assert len(scan) == len(chosen)
        moved = scan.positions_px - scan.positions_px.mean(axis=0)
        expected = POSITIONS_PX[chosen]
        np.testing.assert_allclose(moved, expected - expected.mean(axis=0), atol=1e-3)
        np.testing.assert_array_equal(scan.counts(), COUNTS[chosen])
        if dx_m is not None:
            assert abs(scan.header.pixel_size_m / dx_m - 1) < 1e-5
        if masked:
            assert scan.mask is not None
            assert sorted(map(tuple, np.argwhere(~scan.mask).tolist())) == list(BAD)
