"""Tiny runs: a simulated scan, its payloads, models and trained bundles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from ptycho_dist.bundle import save_bundle
from ptycho_dist.config.simulate import SimulateConfig
from ptycho_dist.data.scan import Scan
from ptycho_dist.data.scan_set import open_source
from ptycho_dist.factory.inference import create_inference_payload
from ptycho_dist.factory.payload import InferencePayload, TrainingPayload
from ptycho_dist.factory.training import create_training_payload
from ptycho_dist.launching.environment import detect
from ptycho_dist.simulate.run import simulate
from ptycho_dist.training.run import TrainingResult, build_module, run_training

SMALL: dict[str, Any] = {"accelerator": "cpu", "width": 8, "depth": 1, "stages": 2, "group_size": 4,
                         "batch_size": 2}  # fmt: skip
"""Settings of a run that takes a moment."""

_LAUNCHERS = ("SLURM_", "OMPI_", "PMI_", "TORCHELASTIC_", "PTYCHO_DIST_LAUNCHER", "MASTER_")
_PLACES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "GROUP_WORLD_SIZE")


def simulate_tiny(path: Path, **changes: Any) -> Path:
    """Simulate 25 patterns of 32 by 32 pixels; a keyword replaces a setting of SimulateConfig."""
    settings: dict[str, Any] = {"n_patterns": 25, "N": 32, "defocus_m": 2e-5, "photons": 1e5}
    return simulate(SimulateConfig(output_file=path, **(settings | changes)))


def training_payload(scan: Path, output_dir: Path, **overrides: Any) -> TrainingPayload:
    """Payload of a small training; a keyword is an override."""
    return create_training_payload(scan, output_dir, SMALL | overrides)


def train_small(source: Path, output_dir: Path, *, resume: bool = False, **overrides: Any) -> TrainingResult:
    """Train for a moment on a scan or a set of scans; a keyword is an override."""
    payload = training_payload(source, output_dir, **overrides)
    with open_source(source) as opened:
        return run_training(payload, detect(os.environ), opened, resume=resume)


def untrained_bundle(payload: TrainingPayload, scan: Scan, *, noise: float = 0.05) -> Path:
    """Write a bundle whose weights are random, so that patches differ between patterns."""
    module = build_module(payload, scan, 1)
    generator = torch.Generator().manual_seed(7)
    state = module.model.state_dict()
    for name, value in state.items():
        if not name.startswith("optics.") and value.is_floating_point():
            state[name] = value + noise * torch.randn(value.shape, generator=generator)
    return save_bundle(payload.training_config.output_dir / "bundle", state, payload.to_dict())


def inference_payload(bundle: Path, scan: Path, output_dir: Path, **overrides: Any) -> InferencePayload:
    """Payload of a small prediction; a keyword is an override."""
    return create_inference_payload(bundle, scan, output_dir, {"accelerator": "cpu"} | overrides)


def forget_launchers(patch: pytest.MonkeyPatch) -> None:
    """Hide the variables of launchers, so that this process is one plain rank."""
    for name in list(os.environ):
        if name.startswith(_LAUNCHERS) or name in _PLACES:
            patch.delenv(name)
