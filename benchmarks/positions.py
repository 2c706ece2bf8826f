"""Refinement of positions: the probe and the measured position errors of an experiment, with simulated frames.

Run ``python -m benchmarks.positions``. Frames of 256 by 256 pixels are simulated at the true positions with 1e6
photons each, and refined from the nominal ones, which are off by 39 nm (4.9 pixels) rms.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from benchmarks.common import ptycho_dist, write_results
from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent, write_scan_h5
from ptycho_dist.physics.intensity import ForwardModel
from ptycho_dist.physics.patches import extract
from ptycho_dist.physics.propagators import FarField

PHOTONS, MARGIN_PX, AT_ONCE = 1e6, 10, 31
SCALES_PX = (1.5, 4.0, 12.0)
"""Sizes of the object's features."""


def simulate(facts: Path, scan: Path) -> NDArray[np.float64]:
    """Write the scan with its nominal positions; returns the true ones, in pixels, shape (B, 2)."""
    with np.load(facts) as file:
        pixel_m, probe = float(file["pixel_size_m"]), torch.from_numpy(file["probe"].astype(np.complex64))
        true, nominal = file["true_positions_m"] / pixel_m, file["nominal_positions_m"] / pixel_m
        energy_eV = float(file["energy_eV"])
    corner = np.minimum(true.min(axis=0), nominal.min(axis=0)) - MARGIN_PX
    true, nominal = true - corner, nominal - corner
    probe *= (PHOTONS / float(probe.abs().square().sum())) ** 0.5
    N = probe.shape[-1]
    side = int(np.maximum(true.max(axis=0), nominal.max(axis=0)).max()) + N + MARGIN_PX
    object_ = torch.from_numpy(make_object(side))
    content = ScanContent(
        patterns=frames(object_, probe, torch.from_numpy(true)), positions_px=nominal, probe=probe.numpy(),
        object_=object_.numpy(), object_origin_px=(0.0, 0.0), pixel_size_m=pixel_m, energy_eV=energy_eV,
    )  # fmt: skip
    write_scan_h5(scan, content)
    return np.asarray(true, np.float64)


def make_object(side: int) -> NDArray[np.complex64]:
    """Make an object with features of several sizes, complex64, shape (side, side)."""
    random = np.random.default_rng(0)

    def texture() -> NDArray[np.float64]:
        layers = (gaussian_filter(random.standard_normal((side, side)), scale) * scale for scale in SCALES_PX)
        return np.asarray(np.tanh(2 * np.sum(list(layers), axis=0)), np.float64)

    return np.asarray((0.9 + 0.08 * texture()) * np.exp(0.75j * texture()), np.complex64)


def frames(object_: torch.Tensor, probe: torch.Tensor, positions: torch.Tensor) -> Iterator[NDArray[Any]]:
    """Yield noisy counts, some patterns at a time."""
    random, model = torch.Generator().manual_seed(0), ForwardModel(probe, FarField())
    for some in torch.split(positions, AT_ONCE):
        counts = model.counts(extract(object_, some, probe.shape[-1]))
        yield torch.poisson(FarField().rearrange(counts), generator=random).numpy()


def rms_px(found: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """Rms distance of positions from the true ones; a common shift is no error."""
    error = found - true
    return float(np.sqrt(((error - error.mean(axis=0)) ** 2).sum(axis=1).mean()))


def main() -> None:
    """Simulate, refine, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--iterations", type=int, default=45)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    facts = Path(os.environ.get("PTYCHO_DIST_DATA", "../shared/data")) / "tungsten_probe_positions.npz"
    if not facts.is_file():
        parser.error(f"{facts} is not there; set PTYCHO_DIST_DATA to its folder")
    with tempfile.TemporaryDirectory() as name:
        scan, output = Path(name) / "scan.h5", Path(name) / "refined"
        true = simulate(facts, scan)
        settings = ("--iterations", str(arguments.iterations), "--position_start", "3", "--position_step", "1.0")
        ptycho_dist("refine", str(scan), "--output_dir", str(output), *settings, threads=arguments.threads)
        product = read_product(output / "reconstruction.h5")
    pixel_nm = product.geometry.pixel_size_m * 1e9
    after = rms_px(product.positions_px, true) * pixel_nm
    with np.load(facts) as file:
        nominal = file["nominal_positions_m"] * 1e9 / pixel_nm
    before = rms_px(nominal, true) * pixel_nm
    written = write_results("positions", {"rms_before_nm": before, "rms_after_nm": after, "pixel_nm": pixel_nm})
    sys.stdout.write(f"rms position error {before:.1f} nm before, {after:.2f} nm after; written to {written}\n")


if __name__ == "__main__":
    main()
