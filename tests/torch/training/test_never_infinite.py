"""Trainings on sets at default settings end in finite losses: 20 seeds and three kinds of sets."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from ptycho_dist.data.scan_set import open_source
from ptycho_dist.launching.environment import detect
from ptycho_dist.training.run import run_training
from tests.support.runs import forget_launchers, training_payload
from tests.support.sets import simulate_small_set

KINDS: dict[str, dict[str, Any]] = {
    "low dose": {"photons": 7.5e2},
    "step": {"photons": 1e4, "step_px": 8.0},
    "defocus": {"photons": 1e5, "defocus_m": 6e-5},
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", KINDS)
def test_training_on_a_set_stays_finite(kind: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_launchers(monkeypatch)
    folder = simulate_small_set(tmp_path / "set", 6, **KINDS[kind])
    settings = {"stages": 3, "batch_size": 4, "max_epochs": 20, "seed": seed, "learning_rate": 1e-2}
    payload = training_payload(folder, tmp_path, **settings, enable_checkpointing=False)
    with open_source(folder) as source:
        losses = run_training(payload, detect({}), source).losses
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < losses[0]
