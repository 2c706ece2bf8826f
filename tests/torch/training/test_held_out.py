"""A training on a set predicts the scans that it holds back, and its bundle has the weights that did it best."""

from __future__ import annotations

import csv
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from ptycho_dist.bundle import load_bundle
from ptycho_dist.data.datamodule import ScanDataModule
from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.sampler import split_scans
from ptycho_dist.data.scan import open_scan
from ptycho_dist.data.scan_set import open_set
from ptycho_dist.data.set_index import entry_of, write_index
from ptycho_dist.evaluate.comparison import compare_and_draw
from ptycho_dist.evaluate.fourier import fourier_errors
from ptycho_dist.evaluate.whole_scan import ScanQuality
from ptycho_dist.inference.run import run_inference
from ptycho_dist.launching.environment import detect
from ptycho_dist.training import run
from ptycho_dist.training.held_out import Predictor
from ptycho_dist.training.module import PtychoModule
from ptycho_dist.training.run import TrainingResult
from tests.support.ranks import rank_context
from tests.support.runs import forget_launchers, inference_payload, simulate_tiny, train_small, training_payload
from tests.support.scans import make_scan, write_own
from tests.support.sets import simulate_small_set
from tests.torch.training.test_mlflow import select
from tests.torch.training.test_resume import Killed, die_at

TRAIN: dict[str, Any] = {"max_epochs": 3, "batch_size": 3, "val_fraction": 0.25, "held_out_every": 2,
                         "checkpoint_interval_s": 0.0, "learning_rate": 5e-3}  # fmt: skip
"""3 scans of 4 groups to train on: 4 steps an epoch, 12 in all."""
LOOKS = [2, 4, 6, 8, 10, 12]
RUINOUS: dict[str, Any] = {"learning_rate": 0.5, "scheduler": "Default"}


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_small_set(tmp_path_factory.mktemp("set") / "set", 4)


@pytest.fixture(scope="module")
def start(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        forget_launchers(patch)
        return train(scans, tmp_path_factory.mktemp("start"), max_epochs=10, learning_rate=5e-3).bundle_path


def train(source: Path, folder: Path, *, resume: bool = False, **overrides: Any) -> TrainingResult:
    return train_small(source, folder, resume=resume, **(TRAIN | overrides))


def curve(folder: Path, name: str = "held_out_fourier_error") -> list[tuple[int, float]]:
    """Read steps done and value, wherever it was logged."""
    rows = csv.DictReader((folder / "logs" / "metrics.csv").read_text().splitlines())
    return [(int(row["step"]) + 1, float(row[name])) for row in rows if row.get(name)]


def history(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = load_bundle(folder / "bundle").payload_dict["history"]
    return found


def differing(folder: Path, state: dict[str, Tensor]) -> list[str]:
    """Weights of a bundle that are not those of a model."""
    found = load_bundle(folder / "bundle").state
    return [name for name, value in found.items() if not torch.equal(value, state[name])]


Weights = list[dict[str, Tensor]]


def scripted(patch: pytest.MonkeyPatch, errors: Sequence[float]) -> Weights:
    """Make held-out scans have given errors, one after the other; returns the weights that were judged."""
    judged: Weights = []

    def qualities(_self: Predictor, _trainer: pl.Trainer, module: PtychoModule) -> list[ScanQuality]:
        judged.append({name: value.clone() for name, value in module.model.state_dict().items()})
        return [ScanQuality(errors[len(judged) - 1] ** 2, 1.0, {})]

    patch.setattr(Predictor, "qualities", qualities)
    return judged


def test_error_and_similarity_are_those_of_the_prediction_with_the_bundle(tmp_path: Path) -> None:
    folder = simulate_small_set(tmp_path / "set", 2, n_patterns=70)
    train(folder, tmp_path, keep="last", val_fraction=0.5, batch_size=6, held_out_every=3)
    assert [step for step, _ in curve(tmp_path)] == [3, 6, 9]
    assert [seen for _, seen in curve(tmp_path, "patterns_seen")] == [70, 140, 210]
    training = training_payload(folder, tmp_path, **(TRAIN | {"val_fraction": 0.5})).training_config
    (held,) = split_scans(2, training).validation
    path = folder / f"scan-{held}.h5"
    settings = inference_payload(tmp_path / "bundle", path, tmp_path / "predicted", probe_search="never")
    with open_scan(path) as scan:
        product = read_product(run_inference(settings, detect(os.environ), scan).product_path)
        expected, _ = compare_and_draw(product, scan, tmp_path / "picture.png", None)
        assert curve(tmp_path)[-1][1] == pytest.approx(fourier_errors(product, scan).error(), rel=2e-3)
    for name in ("ssim_phase", "ssim_amplitude"):
        assert curve(tmp_path, f"held_out_{name}")[-1][1] == pytest.approx(expected[name], abs=0.01)


@pytest.mark.parametrize("ema_decay", [None, 0.7])
def test_bundle_has_the_weights_that_predicted_held_out_scans_best(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    ema_decay: float | None,
) -> None:  # fmt: skip
    judged = scripted(monkeypatch, [0.5, 0.3, 0.2, float("nan"), 0.4, 0.6])
    with caplog.at_level(logging.INFO, logger="ptycho_dist.training"):
        result = train(scans, tmp_path, ema_decay=ema_decay)
    assert differing(tmp_path, judged[2]) == []
    assert differing(tmp_path, judged[-1])
    found = history(tmp_path)
    assert (found["kept_step"], found["kept_epoch"], found["steps"]) == (6, 2, 12)
    assert (found["held_out_fourier_error"], found["last_held_out_fourier_error"]) == pytest.approx((0.2, 0.6))
    assert (
        "has the weights after step 6 (epoch 2): Fourier error of held-out scans 0.2000, 0.6000 at the end"
        in caplog.text
    )
    assert (curve(tmp_path, "kept_step"), curve(tmp_path, "kept_held_out_fourier_error")) == (
        [(12, 6.0)], [(12, pytest.approx(0.2))])  # fmt: skip
    assert len(curve(tmp_path)) == len(LOOKS) - 1, "what is not finite is left out"
    assert result.fourier_error is not None


NAMES = ("held_out_fourier_error", "patterns_seen", "kept_step", "kept_held_out_fourier_error")


def test_tensorboard_shows_held_out_scans_and_what_is_kept(scans: Path, tmp_path: Path) -> None:
    train(scans, tmp_path, logger_backend="tensorboard", max_epochs=1)
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert [len(events.Scalars(name)) for name in NAMES] == [2, 2, 1, 1]


@pytest.mark.filterwarnings("ignore")
def test_mlflow_shows_held_out_scans_and_what_is_kept(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="the extra [mlflow] is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    train(scans, tmp_path, logger_backend="mlflow", max_epochs=1)
    counts = dict(select(tmp_path / "logs" / "mlflow.db", "select key, count(*) from metrics group by key"))
    assert [counts[name] for name in NAMES] == [2, 2, 1, 1]


def test_last_weights_are_kept_on_request(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = scripted(monkeypatch, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    result = train(scans, tmp_path, keep="last")
    assert differing(tmp_path, judged[-1]) == []
    assert history(tmp_path)["kept_step"] == 12
    assert result.fourier_error is not None


def test_weights_learnt_from_labels_alone_are_not_judged_by_the_patterns(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = scripted(monkeypatch, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    train(scans, tmp_path, mode="supervised")
    assert differing(tmp_path, judged[-1]) == []


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "with averaged weights": {"ema_decay": 0.7},
    "with accumulated gradients": {"accum_steps": 2},
    "with a scale for each scan": {"intensity_scale_trainable": True},
}


@pytest.mark.parametrize("case", CASES)
def test_killed_training_keeps_the_weights_of_the_uninterrupted_one(
    scans: Path, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = CASES[case] | {"learning_rate": 0.1, "scheduler": "Default"}
    train(scans, tmp_path / "whole", **settings)
    for steps in (3, 8, 10):
        folder = tmp_path / str(steps)
        with monkeypatch.context() as patch:
            patch.setattr(pl.Callback, "on_train_batch_start", die_at(steps))
            with pytest.raises(Killed):
                train(scans, folder, **settings)
        train(scans, folder, resume=True, **settings)
        require_equal(folder, tmp_path / "whole")


def require_equal(folder: Path, whole: Path) -> None:
    assert history(folder) == history(whole)
    assert differing(folder, load_bundle(whole / "bundle").state) == []
    for name in ("held_out_fourier_error", "held_out_ssim_phase", "patterns_seen", "kept_step"):
        assert curve(folder, name) == curve(whole, name)


@pytest.mark.parametrize("settings", [{}, {"ema_decay": 0.7}, {"ema_decay": 0.7, "val_fraction": 0.0}])
def test_training_killed_before_its_bundle_was_written_keeps_the_same_weights(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    train(scans, tmp_path / "whole", **settings)
    with monkeypatch.context() as patch:
        patch.setattr(run, "_save", killed)
        with pytest.raises(Killed):
            train(scans, tmp_path / "killed", **settings)
    train(scans, tmp_path / "killed", resume=True, **settings)
    assert history(tmp_path / "killed") == history(tmp_path / "whole")
    assert differing(tmp_path / "killed", load_bundle(tmp_path / "whole" / "bundle").state) == []


def killed(*_args: Any, **_kwargs: Any) -> Path:
    raise Killed


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("val_fraction", [0.25, 0.0], ids=["judged by held-out scans", "judged by its own"])
def test_fine_tuning_on_a_set_that_made_the_network_worse_is_undone(
    scans: Path, start: Path, tmp_path: Path, val_fraction: float, keep: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = RUINOUS | {"val_fraction": val_fraction, "keep": keep, "max_epochs": 1}
    with caplog.at_level(logging.INFO, logger="ptycho_dist.training"):
        result = train(scans, tmp_path, init_from=start, **settings)
    found = history(tmp_path)
    assert found["kept"] == "init"
    assert found["fourier_error"] is None or found["fourier_error"] > found["init_fourier_error"]
    assert differing(tmp_path, load_bundle(start).state) == []
    assert f"the weights of {start}" in caplog.text
    assert result.fourier_error is not None
    assert math.isfinite(result.fourier_error)


@pytest.mark.parametrize("val_fraction", [0.25, 0.0], ids=["judged by held-out scans", "judged by its own"])
def test_fine_tuning_on_a_set_that_made_the_network_better_is_kept(
    scans: Path, start: Path, tmp_path: Path, val_fraction: float
) -> None:
    train(scans, tmp_path, init_from=start, learning_rate=5e-3, val_fraction=val_fraction, max_epochs=6)
    found = history(tmp_path)
    assert found["kept"] == "tuned"
    assert found["fourier_error"] <= found["init_fourier_error"]
    assert differing(tmp_path, load_bundle(start).state)


def test_killed_fine_tuning_still_knows_what_it_began_with(
    scans: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = RUINOUS | {"init_from": start, "max_epochs": 1}
    train(scans, tmp_path / "whole", **settings)
    with monkeypatch.context() as patch:
        patch.setattr(pl.Callback, "on_train_batch_start", die_at(3))
        with pytest.raises(Killed):
            train(scans, tmp_path / "killed", **settings)
    train(scans, tmp_path / "killed", resume=True, **settings)
    assert history(tmp_path / "killed")["kept"] == "init"
    require_equal(tmp_path / "killed", tmp_path / "whole")


def test_single_scan_has_no_held_out_scans(tmp_path: Path) -> None:
    train(simulate_tiny(tmp_path / "scan.h5"), tmp_path / "run", max_epochs=1)
    assert curve(tmp_path / "run") == []
    assert "kept_step" not in history(tmp_path / "run")


def test_similarity_is_left_out_where_no_scan_holds_its_object(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    files = [write_own(bare / f"{seed}.h5", make_scan(n_patterns=9, N=32, seed=seed), object_=None) for seed in (0, 1)]
    write_index(bare, [entry_of(file) for file in files])
    train(bare, tmp_path / "run", val_fraction=0.5, max_epochs=1)
    assert curve(tmp_path / "run")
    header = (tmp_path / "run" / "logs" / "metrics.csv").read_text().splitlines()[0]
    assert "ssim" not in header


@pytest.mark.parametrize(
    ("batch_size", "group_size", "steps"), [(2, 16, 3), (1, 16, 3), (256, 16, 3), (2, 4, 12), (1, 1, 47)]
)
def test_predictions_stay_near_a_tenth_of_the_work(
    scans: Path, tmp_path: Path, batch_size: int, group_size: int, steps: int
) -> None:
    settings = {"batch_size": batch_size, "group_size": group_size, "held_out_every": None}
    payload = training_payload(scans, tmp_path, **(TRAIN | settings))
    configs = (payload.data_config, payload.training_config, payload.execution_config)
    with open_set(scans) as opened:
        every = [
            Predictor(payload, ScanDataModule(opened, configs, place, payload.photons), place).every
            for place in (rank_context(0, 1), rank_context(1, 2))
        ]
    assert every == [steps, steps]
