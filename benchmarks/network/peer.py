"""pty-chi on the same scans with the same probe, for as long as ours took."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.network.judge import Truth
from ptycho_dist.data.scan import open_scan
from ptycho_dist.evaluate.metrics import Placed

METHODS = ("lsqml", "rpie")
DRIVER = Path(__file__).resolve().parents[1] / "peers" / "ptychi_objects.py"


@dataclass(frozen=True)
class Job:
    """A scan that pty-chi is to reconstruct.

    Parameters
    ----------
    scan
        Scan file.
    folder
        For its files.
    seconds
        Processor time that it may take with each method.
    """

    scan: Path
    folder: Path
    seconds: float

    @property
    def is_done(self) -> bool:
        """Whether all methods have left their objects."""
        return all(self.output(name).is_file() for name in METHODS)

    def output(self, method: str) -> Path:
        """NPZ of a method's objects."""
        return self.folder / f"{method}.npz"


def run_jobs(python: str, jobs: Sequence[Job], listing: Path) -> None:
    """Let pty-chi reconstruct all scans, in one process of its own Python."""
    asked = []
    for job in jobs:
        npz = job.folder / "scan.npz"
        write_tike(job.scan, npz)
        asked += [
            {"scan": str(npz), "output": str(job.output(name)), "method": name, "seconds": job.seconds}
            for name in METHODS
        ]
    listing.write_text(json.dumps(asked), encoding="utf-8")
    env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([python, str(DRIVER), str(listing)], env=env, check=True, stdout=subprocess.DEVNULL)


def write_tike(path: Path, npz: Path) -> None:
    """Write patterns (DC in the corner), positions and probe of a scan as pty-chi's driver reads them."""
    with open_scan(path) as scan:
        counts = scan.read_numbers(np.arange(len(scan))).astype(np.float32)
        assert scan.probe is not None
        np.savez(
            npz,
            data=np.fft.ifftshift(counts, axes=(-2, -1))[None],
            scan=np.asarray(scan.positions_px, np.float32)[None],
            probe=scan.probe[None, None],
        )


def placed_peer(path: Path, number: int, truth: Truth) -> Placed:
    """One of its objects, and where it lies: its centre is the middle of the positions' extent."""
    with np.load(path) as file:
        object_ = file["objects"][number]
    corners = truth.positions_px
    middle = (corners.max(axis=0) + corners.min(axis=0)) / 2 + truth.probe.shape[-1] / 2
    y, x = (float(one) for one in middle - np.array(object_.shape) / 2)
    return Placed(object_, (y, x))
