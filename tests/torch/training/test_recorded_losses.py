"""Short trainings give the losses that version 0.1.0 gave; a change of the order, the draws or the loss shows here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ptycho_dist.data.scan_set import open_source
from ptycho_dist.launching.environment import detect
from ptycho_dist.training.run import run_training
from tests.support.runs import simulate_tiny, training_payload
from tests.support.sets import simulate_small_set

COMMON: dict[str, Any] = {"precision": "64-true", "max_epochs": 3, "learning_rate": 1e-2, "exchange": False,
                          "scheduler": "WarmupCosine"}  # fmt: skip
PLAIN: dict[str, Any] = {}
RICH: dict[str, Any] = {"val_fraction": 0.2, "accum_steps": 2, "probe_learning_rate": 1e-3, "likelihood": "poisson"}
SCALED: dict[str, Any] = {"intensity_scale_trainable": True, "batch_size": 5}
OF_SCAN = {
    "plain": (0.11721604158397385, 0.0779285872351796, 0.032843467233882775),
    "rich": (0.11747046073501459, 0.06193379636017458, 0.046478640864409955),
}
OF_SET = {
    "plain": (0.04653130892105187, 0.037851141031179376, 0.035032283652317905),
    "scaled": (0.05091031633840213, 0.03811632688383214, 0.03536822520898024),
}


def losses_of(source: Path, output_dir: Path, settings: dict[str, Any]) -> tuple[float, ...]:
    payload = training_payload(source, output_dir, **COMMON, **settings)
    with open_source(source) as opened:
        return run_training(payload, detect({}), opened).losses


@pytest.mark.parametrize(("settings", "losses"), [*zip((PLAIN, RICH), OF_SCAN.values(), strict=True)], ids=OF_SCAN)
def test_training_on_one_scan_gives_the_recorded_losses(
    settings: dict[str, Any], losses: tuple[float, ...], tmp_path: Path
) -> None:
    scan = simulate_tiny(tmp_path / "scan.h5", n_modes=2)
    assert losses_of(scan, tmp_path, settings) == pytest.approx(losses, rel=1e-6)


@pytest.mark.parametrize(("settings", "losses"), [*zip((PLAIN, SCALED), OF_SET.values(), strict=True)], ids=OF_SET)
def test_training_on_a_set_gives_the_recorded_losses(
    settings: dict[str, Any], losses: tuple[float, ...], tmp_path: Path
) -> None:
    folder = simulate_small_set(tmp_path / "set", 3)
    assert losses_of(folder, tmp_path, settings) == pytest.approx(losses, rel=1e-6)
