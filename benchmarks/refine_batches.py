"""Refinement of eight scans of different overlap: Fourier error by passes and patterns a second, for batch sizes.

Run ``python -m benchmarks.refine_batches``. Each start probe is out of focus; that of the first scan has the wrong
sign. The error is that of the finished estimate after so many passes, each number of passes a refinement of its own,
since the steps cool towards its end.
``--tree FOLDER`` measures the package of another checkout, such as an older version.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter

from benchmarks.common import environment, write_results
from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent, write_scan_h5
from ptycho_dist.physics.patches import extract
from ptycho_dist.physics.propagators import FarField

Complex = NDArray[np.complex128]
PASSES = (5, 20)


@dataclass(frozen=True)
class Case:
    """A scan.

    Parameters
    ----------
    N
        Detector pixels along one side.
    across, step_px
        Patterns along one side, and their distance.
    radius
        Of the pupil, relative to the field of frequencies.
    defocus, start_defocus
        Curvature of the pupil's phase, true and at the start; 1 spreads the probe over 2 radius N pixels.
    photons
        In a pattern.
    is_spiral
        Whether the positions lie on a Fermat spiral rather than a raster.
    """

    N: int
    across: int
    step_px: float
    radius: float
    defocus: float
    start_defocus: float
    photons: float
    is_spiral: bool = False


CASES = {
    "wrong sign": Case(64, 15, 3.0, 0.2, 1.0, -1.0, 3e5),
    "step 2 %": Case(64, 16, 0.8, 0.2, 1.2, 0.7, 1e5),
    "step 6 %, N 128": Case(128, 13, 4.0, 0.12, 1.7, 1.0, 3e5),
    "step 8 %, N 32": Case(32, 14, 1.5, 0.2, 1.0, 0.6, 1e5),
    "step 17 %": Case(64, 14, 6.0, 0.2, 1.1, 0.7, 1e5),
    "spiral 40 %": Case(64, 15, 12.0, 0.15, 1.2, 0.8, 3e4, is_spiral=True),
    "step 60 %, N 32": Case(32, 14, 6.0, 0.25, 0.5, 0.35, 1e5),
    "step 50 %, N 128": Case(128, 12, 16.0, 0.12, 0.9, 0.6, 1e6),
}
"""Scans by the distance of patterns over the diameter that 90 % of the probe's power lies in, N 64 where not said."""


def probe_of(case: Case, defocus: float) -> Complex:
    """Probe of unit power behind a round pupil out of focus."""
    frequency = (np.arange(case.N) - case.N // 2) / case.N
    square = frequency[:, None] ** 2 + frequency**2
    pupil = (square < case.radius**2) * np.exp(1j * np.pi * defocus * case.N * square)
    probe = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(pupil)))
    return np.asarray(probe / np.linalg.norm(probe))


def positions_of(case: Case, random: np.random.Generator) -> NDArray[np.float64]:
    """Corners on a raster with jitter, or on a Fermat spiral."""
    count = case.across**2
    if case.is_spiral:
        radius, angle = 0.58 * np.sqrt(np.arange(count)), np.arange(count) * np.pi * (3 - np.sqrt(5))
        places = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    else:
        places = np.stack(np.divmod(np.arange(count), case.across), axis=1) + random.uniform(-0.25, 0.25, (count, 2))
    return np.asarray((places - places.min(axis=0)) * case.step_px + 4)


def simulate(case: Case, path: Path, seed: int = 5) -> None:
    """Write a scan of a smooth random object, with Poisson noise and the start probe."""
    random = np.random.default_rng(seed)
    positions = positions_of(case, random)
    side = int(positions.max()) + case.N + 5
    smooth = [gaussian_filter(random.standard_normal((side, side)), 2.0) for _ in range(2)]
    amplitude, phase = (one / np.abs(one).max() for one in smooth)
    object_ = (0.85 + 0.15 * amplitude) * np.exp(0.75j * phase)
    probe = probe_of(case, case.defocus) * np.sqrt(case.photons)
    patches = extract(torch.from_numpy(object_), torch.from_numpy(positions), case.N)
    counts = FarField().forward(patches * torch.from_numpy(probe)).abs().square().numpy()
    noisy = random.poisson(np.fft.fftshift(counts, axes=(-2, -1))).astype(np.float32)
    start = probe_of(case, case.start_defocus)[None].astype(np.complex64)
    write_scan_h5(path, ScanContent(patterns=[noisy], positions_px=positions, probe=start))


def refine(scan: Path, output: Path, tree: Path, *more: str) -> tuple[float, float]:
    """Refine by the package of a tree, as a process of one thread; returns Fourier error and best patterns a second."""
    command = [sys.executable, "-m", "ptycho_dist", "refine", str(scan), "--output_dir", str(output), *more]
    env = environment() | {"PYTHONPATH": str(tree), "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(
        [*command, "--resume", "false", "--devices", "1", "--accelerator", "cpu", "--quiet"],
        env=env,
        cwd=tree,
        check=True,
    )
    rows = (output / "logs" / "refine.csv").read_text(encoding="utf-8").splitlines()[2:]
    error = json.loads((output / "metrics.json").read_text(encoding="utf-8"))["fourier_error"]
    return float(error), max(float(row.split(",")[-1]) for row in rows)


def measure(
    name: str, folder: Path, ways: dict[str, Callable[[Path, Path, int], tuple[float, float]]]
) -> dict[str, Any]:
    """Refine one scan in every way."""
    scan = folder / "scan.h5"
    simulate(CASES[name], scan)
    found: dict[str, Any] = {}
    for way, run in ways.items():
        results = [run(scan, folder / f"{way} {passes}", passes) for passes in PASSES]
        found[way] = {"fourier_error": [one for one, _ in results], "patterns_per_s": max(two for _, two in results)}
    return found


def table(measured: dict[str, dict[str, Any]]) -> Table:
    """Lay the errors and speeds out."""
    ways = list(next(iter(measured.values())))
    passes = "/".join(str(one) for one in PASSES)
    result = Table("scan", *(f"{way}: error after {passes}, patterns/s" for way in ways))
    for name, found in measured.items():
        cells = (
            f"{' '.join(f'{one:.4f}' for one in of['fourier_error'])}, {of['patterns_per_s']:.0f}"
            for of in found.values()
        )
        result.add_row(name, *cells)
    return result


def main() -> None:
    """Measure all scans, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tree", type=Path, help="another checkout, measured besides with its default")
    parser.add_argument("--only", nargs="*", default=list(CASES), help="names of scans")
    arguments = parser.parse_args()
    own = Path(__file__).resolve().parents[1]

    def way(tree: Path, *more: str) -> Callable[[Path, Path, int], tuple[float, float]]:
        return lambda scan, output, passes: refine(scan, output, tree, "--iterations", str(passes), *more)

    ways = {"default": way(own), "one": way(own, "--batch_size", "1")}
    if arguments.tree:
        tree = arguments.tree.resolve()
        ways |= {"former": way(tree), "former, one": way(tree, "--batch_size", "1")}
    measured = {}
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as folder:
            measured[name] = measure(name, Path(folder), ways)
    Console(width=200).print(table(measured))
    written = write_results("refine_batches", {"passes": PASSES, "scans": measured})
    sys.stdout.write(f"written to {written}\n")


if __name__ == "__main__":
    main()
