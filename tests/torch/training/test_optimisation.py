"""Optimisers, accumulated and clipped gradients, schedules, averaged weights, and which checkpoints are kept."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ptycho_dist.bundle import load_bundle
from ptycho_dist.data.scan import Scan
from ptycho_dist.launching.environment import detect
from ptycho_dist.training.run import run_training
from tests.support.runs import training_payload

State = dict[str, Tensor]
Train = Callable[..., State]
OPTIMISERS = ("adam", "adamw", "sgd")


@pytest.fixture
def train(tiny_path: Path, tiny_scan: Scan, tmp_path: Path) -> Train:
    def run(name: str, **overrides: Any) -> State:
        payload = training_payload(tiny_path, tmp_path / name, **overrides)
        result = run_training(payload, detect(os.environ), tiny_scan)
        return load_bundle(result.bundle_path).state

    return run


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "logs" / "metrics.csv").read_text().splitlines()))


def logged(folder: Path, name: str) -> list[float]:
    return [float(row[name]) for row in rows(folder) if row.get(name)]


def apart(one: State, other: State) -> float:
    """Largest difference between two sets of weights."""
    return max(float((one[name] - other[name]).abs().max()) for name in one)


CLIPPING: dict[str, dict[str, Any]] = {
    "unclipped": {},
    "by norm": {"gradient_clip_val": 1e-3},
    "by value": {"gradient_clip_val": 1e-4, "gradient_clip_algorithm": "value"},
}


@pytest.mark.parametrize(("optimizer", "clipping"), [*((one, "by norm") for one in OPTIMISERS), ("adamw", "unclipped"),
                                                     ("sgd", "by value")])  # fmt: skip
def test_accumulated_gradients_equal_one_large_batch(train: Train, optimizer: str, clipping: str) -> None:
    """7 groups: in steps of 2 groups the windows of 2 steps hold 4 and 3 groups of different sizes."""
    rest = {"precision": "64-true", "max_epochs": 3, "optimizer": optimizer, "scheduler": "Default"}
    rest |= CLIPPING[clipping] | ({"learning_rate": 0.3} if optimizer == "sgd" else {})
    large = train("large", batch_size=4, **rest)
    assert apart(large, train("added", batch_size=2, accum_steps=2, **rest)) < 1e-9
    assert apart(large, train("small", batch_size=2, **rest)) > 1e-6, "the batch makes no difference"


def test_clipping_changes_the_weights(train: Train) -> None:
    rest = {"optimizer": "sgd", "learning_rate": 0.3, "max_epochs": 2}
    states = [train(name, **rest, **settings) for name, settings in CLIPPING.items()]
    assert min(apart(states[0], states[1]), apart(states[0], states[2]), apart(states[1], states[2])) > 1e-6


@pytest.mark.parametrize(
    ("optimizer", "knob"), [("adam", {"adam_beta1": 0.5}), ("adamw", {"adam_beta2": 0.999}), ("sgd", {"momentum": 0.0})]
)
def test_optimiser_is_the_one_named_with_its_own_settings(train: Train, optimizer: str, knob: dict[str, float]) -> None:
    plain = train("plain", optimizer=optimizer, max_epochs=2)
    assert apart(plain, train("turned", optimizer=optimizer, max_epochs=2, **knob)) > 1e-7
    others = [one for one in OPTIMISERS if one != optimizer]
    assert min(apart(plain, train(other, optimizer=other, max_epochs=2)) for other in others) > 1e-6


def last_rate(folder: Path) -> float:
    """Rate of the matrices that a next step would use."""
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return float(checkpoint["optimizer_states"][0]["param_groups"][0]["lr"])


def test_exponential_schedule_lowers_the_rate_after_each_epoch(train: Train, tmp_path: Path) -> None:
    train("falling", scheduler="Exponential", lr_gamma=0.5, learning_rate=1e-3, max_epochs=3)
    assert last_rate(tmp_path / "falling") == pytest.approx(1.25e-4)


def test_rates_are_logged_by_the_names_of_lightnings_monitor(train: Train, tmp_path: Path) -> None:
    settings = {"scheduler": "Exponential", "lr_gamma": 0.5, "learning_rate": 1e-3, "max_epochs": 2, "accum_steps": 2}
    train("rates", optimizer="adam", **settings)
    steps = len(logged(tmp_path / "rates", "train_loss_step")) // 2
    for name in ("matrices", "vectors"):
        found = logged(tmp_path / "rates", f"lr-Adam/{name}")
        assert found == pytest.approx([1e-3] * steps + [5e-4] * steps)
    assert len(logged(tmp_path / "rates", "lr-Adam/probe")) == 2 * steps


def test_cosine_ends_at_the_least_ratio(train: Train, tmp_path: Path) -> None:
    train("cosine", scheduler="WarmupCosine", lr_min_ratio=0.25, learning_rate=1e-3, max_epochs=3)
    assert last_rate(tmp_path / "cosine") == pytest.approx(2.5e-4)


@pytest.mark.parametrize("val_fraction", [0.0, 0.3])
def test_plateau_lowers_the_rate_when_the_monitored_loss_stalls(
    train: Train, tmp_path: Path, val_fraction: float
) -> None:
    """A threshold of 1 asks for more than any epoch brings: after the first, every epoch is one without gain."""
    settings = {"plateau_patience": 0, "plateau_threshold": 1.0, "plateau_factor": 0.1, "plateau_min_lr": 3e-5}
    train(
        "flat", scheduler="ReduceLROnPlateau", learning_rate=1e-2, max_epochs=4, val_fraction=val_fraction, **settings
    )
    assert last_rate(tmp_path / "flat") == pytest.approx(3e-5)
    train("steep", scheduler="ReduceLROnPlateau", learning_rate=1e-2, max_epochs=4, plateau_patience=9)
    assert last_rate(tmp_path / "steep") == 1e-2


def test_averaged_weights_are_the_running_mean_of_those_after_each_step(train: Train) -> None:
    """Steps 1 to 4 of a constant schedule, each by a training that ends there; the mean is taken here."""
    rest = {"scheduler": "Default", "precision": "64-true", "max_epochs": 1}
    after = [train(f"to {steps}", max_steps=steps, **rest) for steps in range(1, 5)]
    expected = after[0]
    for state in after[1:]:
        expected = {name: 0.8 * value + 0.2 * state[name] for name, value in expected.items()}
    averaged = train("averaged", max_steps=4, ema_decay=0.8, **rest)
    assert apart(averaged, expected) < 1e-12
    assert apart(averaged, after[-1]) > 1e-5


@pytest.mark.parametrize(("val_fraction", "metric"), [(0.3, "val_loss"), (0.0, "train_loss")])
def test_checkpoints_kept_are_the_best_by_the_right_metric(
    train: Train, tmp_path: Path, val_fraction: float, metric: str
) -> None:
    train("best", val_fraction=val_fraction, checkpoint_save_top_k=2, max_epochs=5, learning_rate=2e-2)
    losses = logged(tmp_path / "best", metric)
    assert len(losses) == 5
    best = sorted(range(5), key=losses.__getitem__)[:2]
    kept = sorted((tmp_path / "best" / "checkpoints").glob("epoch-*.ckpt"))
    assert [path.name for path in kept] == [f"epoch-{epoch:04d}.ckpt" for epoch in sorted(best)]


def test_training_stops_early_when_the_loss_no_longer_falls(train: Train, tmp_path: Path) -> None:
    train("stopped", early_stop_patience=2, learning_rate=1e-12, probe_learning_rate=1e-12, group_size=25,
          batch_size=1, max_epochs=12)  # fmt: skip
    assert 3 <= len(logged(tmp_path / "stopped", "train_loss")) < 12


@pytest.mark.parametrize(("precision", "near"), [("64-true", 1e-3), ("bf16-mixed", 0.1)])
def test_precision_trains_to_nearly_the_losses_of_float32(
    train: Train, tmp_path: Path, precision: str, near: float
) -> None:
    for name, kind in (("single", "32-true"), ("other", precision)):
        train(name, precision=kind, max_epochs=4)
    single, other = (logged(tmp_path / name, "train_loss") for name in ("single", "other"))
    assert single[-1] < 0.9 * single[0], "nothing was learnt"
    assert other == pytest.approx(single, rel=near)
    assert other != single


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_half_precision_trains_to_nearly_the_losses_of_float32(train: Train, tmp_path: Path) -> None:
    for name, kind in (("single", "32-true"), ("half", "16-mixed")):
        train(name, precision=kind, max_epochs=4, accelerator="gpu", gradient_clip_val=1.0)
    single, half = (logged(tmp_path / name, "train_loss") for name in ("single", "half"))
    assert half == pytest.approx(single, rel=0.1)
