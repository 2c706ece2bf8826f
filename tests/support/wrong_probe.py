"""A scan whose supplied probe is not the one that made it, and a network that holds no probe."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import torch

from ptycho_dist.bundle import save_bundle
from ptycho_dist.data.scan import open_scan
from ptycho_dist.model.build import network_state
from ptycho_dist.training.run import build_module
from tests.support.runs import training_payload


def with_wrong_probe(path: Path, to: Path, defocus_rad: float) -> Path:
    """Copy a scan; its probe gets a quadratic phase in the detector plane, so many radians at a quarter of N."""
    shutil.copyfile(path, to)
    with h5py.File(to, "r+") as file:
        probe = file["probe"][()]
        N = probe.shape[-1]
        y, x = np.fft.ifftshift(np.mgrid[:N, :N] - N // 2, axes=(-2, -1))
        lens = np.exp(1j * defocus_rad * (y**2 + x**2) / (N / 4) ** 2)
        file["probe"][...] = np.fft.ifft2(np.fft.fft2(probe) * lens).astype(np.complex64)
    return to


def bundle_without_probe(path: Path, folder: Path) -> Path:
    """Write the bundle of a network that has learnt nothing yet, as a training on a set leaves it."""
    payload = training_payload(path, folder)
    with open_scan(path) as scan:
        state = build_module(payload, scan, 1).model.state_dict()
    facts = payload.to_dict() | {"holds_probe": False}
    return save_bundle(folder / "bundle", {name: torch.clone(one) for name, one in network_state(state).items()}, facts)
