"""Payloads of both kinds from one tiny scan, for tests of the factory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ptycho_dist import (
    InferencePayload,
    TrainingPayload,
    create_inference_payload,
    create_training_payload,
    save_bundle,
)

Payload = TrainingPayload | InferencePayload
N, PATTERNS = 32, 9


def write_scan(path: Path, n: int = N, patterns: int = PATTERNS, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(patterns)))
    where = np.arange(patterns)
    yy, xx = np.mgrid[:n, :n] - n / 2
    np.savez(
        path,
        diffraction=rng.poisson(100.0, (patterns, n, n)).astype(np.int32),
        xcoords=5.0 * (where % side) + n,
        ycoords=5.0 * (where // side) + n,
        probeGuess=np.exp(-(yy**2 + xx**2) / 20.0).astype(np.complex64),
    )
    return path


def train(scan: Path, overrides: dict[str, Any] | None = None, **more: Any) -> TrainingPayload:
    return create_training_payload(scan, "runs/x", overrides, **more)


def write_bundle(scan: Path, folder: Path) -> Path:
    """Write a bundle whose settings are real and whose weights are not."""
    payload = create_training_payload(scan, "runs/x", {"accelerator": "cpu"})
    return save_bundle(folder / "bundle", {"w": torch.ones(3)}, payload.to_dict())


class Make:
    """Make a payload of either kind with the same settings."""

    def __init__(self, kind: str, scan: Path, bundle: Path) -> None:
        self.kind, self.scan, self.bundle = kind, scan, bundle

    def __call__(self, overrides: dict[str, Any] | None = None, config: Any = None, **more: Any) -> Payload:
        if self.kind == "training":
            return create_training_payload(self.scan, "runs/x", overrides, config, **more)
        return create_inference_payload(self.bundle, self.scan, "runs/y", overrides, config, **more)
