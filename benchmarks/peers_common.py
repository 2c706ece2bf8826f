"""What comparisons with PtychoPINN share: its checkout, its Python, requests and answers."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.scan import Scan
from ptycho_dist.evaluate.comparison import illumination, scanned_area
from ptycho_dist.evaluate.metrics import Placed, compare_to_reference

_DRIVER = Path(__file__).resolve().parent / "peers" / "ptychopinn.py"
MODELS: dict[str, dict[str, Any]] = {
    "counts": {
        "physics_forward_mode": "rectangular_scaled",
        "cnn_output_mode": "real_imag",
        "training_patch_weighting": "probe",
    },
}
"""PtychoPINN's settings for counts: its rectangular forward model on absolute intensities, probe-weighted patches."""


def peer_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where PtychoPINN and its Python are, and on what machine share both run."""
    parser.add_argument("--ptychopinn-dir", type=Path, required=True, help="checkout of PtychoPINN")
    parser.add_argument("--ptychopinn-python", type=Path, help="its Python; else DIR/.venv/bin/python")
    parser.add_argument("--threads", type=int, default=2, help="threads of PtychoPINN, and ranks of ours")


@dataclass(frozen=True)
class PtychoPinn:
    """An installation of PtychoPINN.

    Parameters
    ----------
    directory, python
        Its checkout, and the Python of an environment with its dependencies.
    work_dir
        Folder for what it writes.
    threads
        Threads it may use.
    """

    directory: Path
    python: Path
    work_dir: Path
    threads: int

    def run(self, command: str, scan: Path, **changes: Any) -> dict[str, Any]:
        """Train or predict on the scan (alone in its folder) with its defaults and some changes; returns the answer."""
        request = {
            "scan_dir": str(scan.parent), "photons": 1e5, "n_subsample": 1, "seed": 0, "seconds": None, "epochs": 1,
            "threads": self.threads, "inference_batch": 64, "data": {"x_bounds": [0.0, 1.0], "y_bounds": [0.0, 1.0]},
            "model": MODELS["counts"], "training": {}, "weights": str(self.work_dir / "weights.pt"),
            "map_dir": str(self.work_dir / "map"), "object": str(self.object_path),
        } | changes  # fmt: skip
        path = self.work_dir / f"{command}.json"
        path.write_text(json.dumps(request), encoding="utf-8")
        env = os.environ | {"PYTHONPATH": str(self.directory), "OMP_NUM_THREADS": str(self.threads)}
        subprocess.run(
            [str(self.python), str(_DRIVER), command, str(path)], env=env, cwd=self.work_dir, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        answer: dict[str, Any] = json.loads(path.with_suffix(".answer.json").read_text(encoding="utf-8"))
        return answer

    @property
    def object_path(self) -> Path:
        """Where it leaves its object."""
        return self.work_dir / "object.npz"

    def placed_object(self) -> Placed:
        """Its object on our pixel grid: the scan's centre of mass lies in the middle of its canvas."""
        with np.load(self.object_path) as file:
            found, (x, y) = file["object"], file["centre_xy"].tolist()
        rows, columns = found.shape
        return Placed(found, (y - rows // 2, x - columns // 2))


def peer_of(arguments: argparse.Namespace, work_dir: Path) -> PtychoPinn:
    """Installation that the command line names."""
    directory = arguments.ptychopinn_dir.resolve()
    python = arguments.ptychopinn_python or directory / ".venv" / "bin" / "python"
    return PtychoPinn(directory, python.absolute(), work_dir, arguments.threads)


def quality(found: Placed, scan: Scan) -> dict[str, float]:
    """Compare an object with the truth of the scan, over the area that the scan lights well."""
    truth, origin, probe = scan.object_, scan.object_origin_px, scan.probe
    if truth is None or origin is None or probe is None:
        msg = f"{scan.header.path} holds no true object; expected the scan that benchmarks.run1084 writes."
        raise ValueError(msg)
    rows, columns = truth.shape
    area = scanned_area(illumination(scan.positions_px, probe, (rows, columns), origin))
    metrics = compare_to_reference(found, Placed(truth, (float(origin[0]), float(origin[1]))), area).summary()
    return {name: metrics[name] for name in ("ssim_phase", "ssim_amplitude", "psnr_db", "frc_resolution_half_bit_px")}


def product_object(path: Path) -> Placed:
    """Object of one of our products, and where it lies."""
    product = read_product(path)
    return Placed(product.object_, product.geometry.object_origin_px)
