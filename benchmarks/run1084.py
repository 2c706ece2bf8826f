"""The scan that both sides of a comparison read: Run1084's optics and object, simulated frames.

Probe, object and scan points are those of a published reconstruction; the frames are Poisson counts of the
exact forward model, so that the truth is known. The file has PtychoPINN's own layout, which both programs read.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from ptycho_dist.physics.intensity import ForwardModel
from ptycho_dist.physics.patches import extract
from ptycho_dist.physics.probe import intensity_scale
from ptycho_dist.physics.propagators import FarField

SOURCE = "run1084_probe_object_scan.npz"
_CHUNK = 64


def source_path() -> Path:
    """Find the optics in the folder that ``PTYCHO_DIST_DATA`` names, else beside the repository.

    Raises
    ------
    FileNotFoundError
        If they are not there.
    """
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("PTYCHO_DIST_DATA", beside)) / SOURCE
    if not path.is_file():
        msg = f"{path} is missing; expected probe, object and scan of Run1084. Set PTYCHO_DIST_DATA to its folder."
        raise FileNotFoundError(msg)
    return path


def write_scan(path: Path, photons: float = 1e5, seed: int = 0) -> Path:
    """Simulate the scan into an NPZ file with the true object.

    Parameters
    ----------
    path
        File to write.
    photons
        Mean photons that reach the detector without an object.
    seed
        Seed of the Poisson noise.
    """
    with np.load(source_path()) as source:
        probe, object_ = source["probeGuess"].astype(np.complex64), source["objectGuess"].astype(np.complex64)
        x, y = source["xcoords"], source["ycoords"]
    N = probe.shape[-1]
    probe = probe * np.float32(intensity_scale(torch.from_numpy(probe)[None], photons))
    corners = torch.from_numpy(np.stack([y, x], axis=1) - N / 2)
    noise, model = np.random.default_rng(seed), ForwardModel(torch.from_numpy(probe)[None], FarField())
    counts = np.empty((len(x), N, N), np.float32)
    for start in range(0, len(x), _CHUNK):
        patches = extract(torch.from_numpy(object_), corners[start : start + _CHUNK], N)
        intensity = model.propagator.rearrange(model.counts(patches))
        counts[start : start + _CHUNK] = noise.poisson(intensity.double().numpy())
    np.savez(
        path, diffraction=counts, xcoords=x, ycoords=y, xcoords_start=x, ycoords_start=y, probeGuess=probe,
        objectGuess=object_, scan_index=np.zeros(len(x), np.int64),
    )  # fmt: skip
    return path
