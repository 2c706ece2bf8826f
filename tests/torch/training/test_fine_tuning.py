"""A training that starts from a bundle never ends worse than it began."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from ptycho_dist.bundle import Bundle, load_bundle
from ptycho_dist.data.datamodule import ScanDataModule
from ptycho_dist.data.scan import Scan
from ptycho_dist.inference.run import load_model
from ptycho_dist.launching.environment import detect
from ptycho_dist.launching.signals import StopRequested, StopSignals
from ptycho_dist.model.build import network_state
from ptycho_dist.training.fine_tuning import sample_error
from ptycho_dist.training.run import TrainingResult, run_training
from tests.support.runs import inference_payload, training_payload
from tests.torch.training.test_resume import signal_at

GOOD: dict[str, Any] = {"max_epochs": 12}
RUINOUS: dict[str, Any] = {"max_epochs": 1, "learning_rate": 0.5, "probe_learning_rate": 0.5}


@pytest.fixture
def start(tiny_path: Path, tiny_scan: Scan, tmp_path: Path) -> Path:
    """Train a network for a moment; returns its bundle."""
    return tune(tiny_path, tiny_scan, tmp_path / "start", max_epochs=2).bundle_path


def tune(path: Path, scan: Scan, folder: Path, *, resume: bool = False, **overrides: Any) -> TrainingResult:
    payload = training_payload(path, folder, **overrides)
    with StopSignals() as stop:
        return run_training(payload, detect(os.environ), scan, stop=stop, resume=resume)


def error_of(bundle: Path, path: Path, scan: Scan, folder: Path) -> float:
    """Fourier error of a bundle's model on the groups that a fine-tuning is judged by."""
    model, _ = load_model(inference_payload(bundle, path, folder / "predicted"), scan)
    payload = training_payload(path, folder)
    configs = (payload.data_config, payload.training_config, payload.execution_config)
    data = ScanDataModule(scan, configs, detect(os.environ), payload.photons)
    return sample_error(payload, data, lambda _: model)


def require_same_network(found: Bundle, expected: Bundle) -> None:
    one, other = network_state(found.state), network_state(expected.state)
    assert [name for name, value in other.items() if not torch.equal(one[name], value)] == []


def test_training_that_made_the_network_worse_is_undone(
    start: Path, tiny_path: Path, tiny_scan: Scan, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="ptycho_dist.training"):
        result = tune(tiny_path, tiny_scan, tmp_path / "tuned", init_from=start, **RUINOUS)
    found = load_bundle(result.bundle_path)
    history = found.payload_dict["history"]
    assert history["kept"] == "init"
    assert history["fourier_error"] > history["init_fourier_error"]
    require_same_network(found, load_bundle(start))
    assert tiny_scan.probe is not None
    probe = torch.view_as_complex(found.state["optics.probe_parts"])
    assert torch.allclose(probe, torch.from_numpy(tiny_scan.probe))
    assert error_of(result.bundle_path, tiny_path, tiny_scan, tmp_path) == pytest.approx(history["init_fourier_error"])
    assert f"{history['fourier_error']:.4f}, from {history['init_fourier_error']:.4f} before" in caplog.text
    assert result.fourier_error == history["init_fourier_error"]


def test_training_that_made_the_network_better_is_kept(
    start: Path, tiny_path: Path, tiny_scan: Scan, tmp_path: Path
) -> None:
    result = tune(tiny_path, tiny_scan, tmp_path / "tuned", init_from=start, **GOOD)
    history = load_bundle(result.bundle_path).payload_dict["history"]
    assert history["kept"] == "tuned"
    assert history["fourier_error"] <= history["init_fourier_error"]
    assert error_of(result.bundle_path, tiny_path, tiny_scan, tmp_path) == pytest.approx(history["fourier_error"])
    assert result.fourier_error == history["fourier_error"]


def test_training_from_scratch_is_not_judged(tiny_path: Path, tiny_scan: Scan, tmp_path: Path) -> None:
    result = tune(tiny_path, tiny_scan, tmp_path / "alone", max_epochs=1)
    assert set(load_bundle(result.bundle_path).payload_dict["history"]) == {"train_loss", "steps"}


def test_training_that_ends_within_an_epoch_is_judged_by_the_whole_scan(
    tiny_path: Path, tiny_scan: Scan, tmp_path: Path
) -> None:
    result = tune(tiny_path, tiny_scan, tmp_path / "cut", max_steps=5)
    assert len(result.losses) == 1
    found = error_of(result.bundle_path, tiny_path, tiny_scan, tmp_path)
    assert result.fourier_error == pytest.approx(found)
    assert result.fourier_error != pytest.approx(result.losses[-1] ** 0.5, rel=1e-3)


@pytest.mark.parametrize("settings", [GOOD, RUINOUS], ids=["better", "worse"])
def test_resumed_fine_tuning_decides_as_the_uninterrupted_one(
    start: Path, tiny_path: Path, tiny_scan: Scan, tmp_path: Path, settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    settings = settings | {"init_from": start}
    whole = load_bundle(tune(tiny_path, tiny_scan, tmp_path / "whole", **settings).bundle_path)
    with monkeypatch.context() as patch:
        patch.setattr(pl.Callback, "on_train_batch_start", signal_at(2, signal.SIGTERM))
        with pytest.raises(StopRequested):
            tune(tiny_path, tiny_scan, tmp_path / "stopped", **settings)
    again = load_bundle(tune(tiny_path, tiny_scan, tmp_path / "stopped", resume=True, **settings).bundle_path)
    assert again.payload_dict["history"] == whole.payload_dict["history"]
    assert [name for name, value in whole.state.items() if not torch.equal(again.state[name], value)] == []
