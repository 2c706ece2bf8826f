"""Few photons and sparse scans: phase SSIM with and without regularised passes, and how good the uncertainty is.

Run ``python -m benchmarks.low_dose``. Each cell is a scan simulated of pictures. The methods without regularisation run
for several numbers of iterations with the supplied probe fixed and refined; the best is taken with the truth in hand.
Ours is ``refine --regularisation auto``, which does not know the truth. ``--doses`` and ``--steps`` choose other cells,
a step in percent of the diameter that 90 % of the probe's power lies in.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from benchmarks.common import ptycho_dist, write_results
from ptycho_dist.data.formats.product_h5 import UNCERTAINTY, read_product
from ptycho_dist.data.scan import open_scan
from ptycho_dist.evaluate.comparison import illumination, scanned_area
from ptycho_dist.evaluate.metrics import soft_weight
from ptycho_dist.evaluate.registration import register

PLAIN = {"pie": (20, 50), "lsqml": (50,), "gradient": (150,)}
"""Methods that are compared with, and their iterations."""
_DIAMETER_PX = 21.6
"""Of the probe of ``simulate`` at 64 pixels, that 90 % of its power lies in."""
_LOCAL_PX = 2.0
_BAND_90 = float(np.sqrt(np.log(10)))
"""A complex normal error is below so many times its root mean square in 90 % of the cases."""


@dataclass(frozen=True)
class Cell:
    """A scan.

    Parameters
    ----------
    photons
        In a frame.
    step_percent
        Distance of patterns over the diameter of the probe.
    phase, amplitude
        Pictures of the object.
    n_patterns
        Patterns.
    """

    photons: float
    step_percent: float
    phase: str
    amplitude: str
    n_patterns: int

    def simulate(self, path: Path) -> None:
        """Write it."""
        settings = {
            "N": 64,
            "n_patterns": self.n_patterns,
            "photons": self.photons,
            "step_px": self.step_percent / 100 * _DIAMETER_PX,
            "phase_picture": self.phase,
            "amplitude_picture": self.amplitude,
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        ptycho_dist("simulate", str(path), *words)


def ssim(scan: Path, output: Path, *more: str) -> dict[str, Any]:
    """Refine, and give the metrics."""
    ptycho_dist("refine", str(scan), "--output_dir", str(output), "--accelerator", "cpu", "--devices", "1", *more)
    found: dict[str, Any] = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    return found


def best_plain(scan: Path, folder: Path) -> tuple[str, float]:
    """Best phase SSIM of the methods without regularisation, and which it was."""
    found = {}
    for method, counts in PLAIN.items():
        for iterations in counts:
            for probe in ("true", "false"):
                name = f"{method} {iterations}, probe {'refined' if probe == 'true' else 'fixed'}"
                more = ("--method", method, "--iterations", str(iterations), "--probe_trainable", probe)
                value = ssim(scan, folder / name, "--regularisation", "none", *more)["ssim_phase"]
                found[name] = -1.0 if value is None else float(value)
    best = max(found, key=found.__getitem__)
    return best, found[best]


def judge_uncertainty(scan_path: Path, product_path: Path) -> dict[str, float]:
    """Rank correlation of uncertainty and true error, pixel by pixel and locally (rms over 2 px), and coverage."""
    product = read_product(product_path)
    with open_scan(scan_path) as scan:
        origin = np.asarray(product.geometry.object_origin_px)
        area = scanned_area(illumination(product.positions_px, product.probe, product.object_.shape, origin))
        truth, at = scan.object_, scan.object_origin_px
        assert truth is not None
        assert at is not None
        placed = _cut(truth, np.rint(origin - at).astype(int), area.shape)
    error = _error(product.object_.astype(np.complex128), placed, area)
    told = product.extras[UNCERTAINTY].astype(np.float64)
    share = np.maximum(gaussian_filter(area.astype(np.float64), _LOCAL_PX), 1e-3)
    local = np.sqrt(gaussian_filter(np.where(area, error**2, 0.0), _LOCAL_PX) / share)
    return {
        "rank_correlation_local": float(spearmanr(told[area], local[area])[0]),
        "rank_correlation_pixel": float(spearmanr(told[area], error[area])[0]),
        "coverage_90": float((error[area] < _BAND_90 * told[area]).mean()),
    }


def _cut(image: NDArray[Any], corner: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.complex128]:
    """Window of an image; ones beyond its edge."""
    padded = np.pad(image.astype(np.complex128), 64, constant_values=1.0)
    y, x = corner + 64
    return np.asarray(padded[y : y + shape[0], x : x + shape[1]])


def _error(
    found: NDArray[np.complex128], truth: NDArray[np.complex128], area: NDArray[np.bool_]
) -> NDArray[np.float64]:
    return np.asarray(np.abs(register(truth, found, soft_weight(area)).object_ - found))


def measure(cell: Cell, folder: Path) -> dict[str, Any]:
    """Refine one scan in every way."""
    scan = folder / "scan.h5"
    cell.simulate(scan)
    name, plain = best_plain(scan, folder)
    ours = ssim(scan, folder / "ours", "--regularisation", "auto", "--uncertainty", "true")
    uncertainty = judge_uncertainty(scan, folder / "ours" / "reconstruction.h5")
    return {
        "photons": cell.photons,
        "step_percent": cell.step_percent,
        "pictures": [cell.phase, cell.amplitude],
        "best_plain": name,
        "ssim_phase_best_plain": plain,
        "ssim_phase": ours["ssim_phase"],
        "gain": ours["ssim_phase"] - plain,
        "regularisation": ours["regularisation"],
        **uncertainty,
    }


def table(measured: list[dict[str, Any]]) -> Table:
    """Lay the cells out."""
    names = ("photons", "step %", "best plain", "SSIM", "ours", "gain", "weight", "rank local/pixel", "cover 90 %")
    result = Table(*names)
    for one in measured:
        ranks = f"{one['rank_correlation_local']:.2f} / {one['rank_correlation_pixel']:.2f}"
        numbers = [f"{one[name]:.3f}" for name in ("ssim_phase_best_plain", "ssim_phase", "gain")]
        cells = (f"{one['photons']:g}", f"{one['step_percent']:g}", one["best_plain"], *numbers)
        result.add_row(*cells, str(one["regularisation"]), ranks, f"{one['coverage_90']:.2f}")
    return result


def main() -> None:
    """Measure all cells, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--doses", nargs="*", type=float, default=[1e3, 1e5], help="photons in a frame")
    parser.add_argument("--steps", nargs="*", type=float, default=[10, 40, 60], help="percent of the probe's diameter")
    parser.add_argument("--patterns", type=int, default=144)
    parser.add_argument("--phase", default="moon", help="picture of the phase")
    parser.add_argument("--amplitude", default="camera", help="picture of the amplitude")
    given = parser.parse_args()
    measured = []
    for photons in given.doses:
        for step in given.steps:
            with tempfile.TemporaryDirectory() as folder:
                measured.append(
                    measure(Cell(photons, step, given.phase, given.amplitude, given.patterns), Path(folder))
                )
            Console(width=160).print(table(measured[-1:]))
    Console(width=160).print(table(measured))
    written = write_results("low_dose", {"cells": measured})
    sys.stdout.write(f"written to {written}\n")


if __name__ == "__main__":
    main()
