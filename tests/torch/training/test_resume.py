"""A training that was stopped or killed resumes exactly where it was."""

from __future__ import annotations

import csv
import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ptycho_dist.bundle import load_bundle
from ptycho_dist.data.scan import Scan
from ptycho_dist.errors import TrainingError
from ptycho_dist.launching.environment import detect
from ptycho_dist.launching.signals import StopRequested, StopSignals
from ptycho_dist.training import checkpoints
from ptycho_dist.training.run import run_training
from tests.support.runs import training_payload

SETTINGS: dict[str, Any] = {"max_epochs": 3, "checkpoint_interval_s": 0.0, "val_fraction": 0.2}


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Listen to what the training logs."""
    log = logging.getLogger("ptycho_dist.training")
    level = log.level
    log.addHandler(caplog.handler)
    log.setLevel(logging.INFO)
    yield caplog
    log.removeHandler(caplog.handler)
    log.setLevel(level)


Train = Callable[..., None]


@pytest.fixture
def train(tiny_path: Path, tiny_scan: Scan, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Train into a folder; with ``kill_after`` it dies after so many steps of this run, without a word."""

    def run(folder: Path, kill_after: int | None = None, *, resume: bool = False, **overrides: Any) -> None:
        payload = training_payload(tiny_path, folder, **(SETTINGS | overrides))
        with monkeypatch.context() as patch, StopSignals() as stop:
            if kill_after is not None:
                patch.setattr(pl.Callback, "on_train_batch_start", die_at(kill_after))
            run_training(payload, detect(os.environ), tiny_scan, stop=stop, resume=resume)

    return run


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def die_at(steps: int) -> Callable[..., None]:
    seen: set[int] = set()

    def hook(_self: Any, trainer: pl.Trainer, *_: Any) -> None:
        seen.add(trainer.fit_loop.total_batch_idx)
        if len(seen) > steps:
            raise Killed

    return hook


def rows(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Every logged loss as text, by name: (step, value)."""
    path = folder / "logs" / "metrics.csv"
    found = list(csv.DictReader(path.read_text().splitlines())) if path.is_file() else []
    names = ("train_loss_step", "train_loss", "val_loss")
    return {name: [(row["step"], row[name]) for row in found if row.get(name)] for name in names}


def shown(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every loss that TensorBoard shows, by name: (step, value)."""
    if not list((folder / "logs").glob("events*")):
        return {}
    events = EventAccumulator(str(folder / "logs")).Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
        if "loss" in name
    }


def previews(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "previews").glob("*")}


def require_equal(folder: Path, whole: Path) -> None:
    assert any(rows(whole).values()) or "train_loss_step" in shown(whole)
    assert rows(folder) == rows(whole)
    assert shown(folder) == shown(whole)
    assert previews(folder) == previews(whole)
    found, expected = (load_bundle(one / "bundle") for one in (folder, whole))
    assert found.payload_dict["history"] == expected.payload_dict["history"]
    assert [name for name, value in expected.state.items() if not torch.equal(found.state[name], value)] == []


EVERY_STEP = {kill: kill for kill in (1, 2, 3, 4, 5, 6, 8)}
CASES: dict[str, tuple[dict[str, Any], dict[int, int]]] = {
    "with validation": ({}, EVERY_STEP),
    "without validation": ({"val_fraction": 0.0}, {2: 2, 4: 4}),
    "with loader processes": ({"num_workers": 1}, {2: 2, 4: 4}),
    "with accumulated gradients": ({"accum_steps": 2}, {2: 2, 4: 3}),
    "with averaged weights": ({"ema_decay": 0.7}, {2: 2, 5: 5}),
    "with rates that fall at a plateau": (
        {"scheduler": "ReduceLROnPlateau", "plateau_patience": 0, "plateau_threshold": 1.0, "max_epochs": 4},
        {3: 3, 4: 4, 7: 7},
    ),
    "with rates that fall exponentially": ({"scheduler": "Exponential", "lr_gamma": 0.3}, {4: 4}),
    "with labels that give way to patterns": ({"mode": "mixed", "tv_weight": 0.1}, {2: 2, 4: 4}),
    "in steps of one epoch each": ({"batch_size": 100}, {1: 1, 2: 2}),
    "with tensorboard and previews": (
        {"logger_backend": "tensorboard", "recon_log_every_n_epochs": 1, "recon_log_stitch": True},
        {4: 4},
    ),
    "up to a number of steps": ({"max_steps": 5}, {1: 1, 4: 4}),
    "up to steps without validation": ({"max_steps": 11, "val_fraction": 0.0}, {one: one for one in range(3, 10)}),
    "up to steps with validation": ({"max_steps": 8}, {one: one for one in range(2, 8)}),
}
"""Settings, and for each step after which the training dies the step from which it resumes."""


@pytest.mark.parametrize("case", CASES)
def test_resumed_training_equals_the_uninterrupted_one_wherever_it_was_killed(
    train: Train, tmp_path: Path, case: str, said: pytest.LogCaptureFixture
) -> None:
    overrides, places = CASES[case]
    train(tmp_path / "whole", **overrides)
    for kill_after, step in places.items():
        folder = tmp_path / str(kill_after)
        with pytest.raises(Killed):
            train(folder, kill_after, **overrides)
        said.clear()
        train(folder, resume=True, **overrides)
        assert f"step {step + 1}\n" in said.text, "it did not resume from the last step"
        require_equal(folder, tmp_path / "whole")


def test_training_killed_again_and_again_equals_the_uninterrupted_one(train: Train, tmp_path: Path) -> None:
    train(tmp_path / "whole")
    for attempt in range(4):
        with pytest.raises(Killed):
            train(tmp_path / "killed", 2, resume=attempt > 0)
    train(tmp_path / "killed", resume=True)
    require_equal(tmp_path / "killed", tmp_path / "whole")
    assert not list((tmp_path / "killed" / "checkpoints").glob("step-*"))


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def killed(train: Train, folder: Path, kill_after: int = 5) -> list[Path]:
    with pytest.raises(Killed):
        train(folder, kill_after)
    return sorted((folder / "checkpoints").glob("step-*.ckpt"))


def test_damaged_newest_checkpoint_is_passed_over_with_a_word(
    train: Train, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    train(tmp_path / "whole")
    older, newest = killed(train, tmp_path / "killed")
    damage(newest)
    train(tmp_path / "killed", resume=True)
    assert f"checkpoint {newest} is skipped: its SHA-256 is" in said.text
    assert f"resuming from {older}" in said.text
    require_equal(tmp_path / "killed", tmp_path / "whole")


def test_checkpoint_that_was_not_finished_is_passed_over(
    train: Train, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    older, newest = killed(train, tmp_path)
    newest.with_name(f"{newest.name}.sha256").unlink()
    train(tmp_path, resume=True)
    assert "it was not finished" in said.text
    assert f"resuming from {older}" in said.text


def test_all_checkpoints_damaged_is_an_error_that_keeps_them(train: Train, tmp_path: Path) -> None:
    saved = killed(train, tmp_path)
    for path in saved:
        damage(path)
    with pytest.raises(TrainingError, match=r"all 2 checkpoints in .* are damaged.*--resume false"):
        train(tmp_path, resume=True)
    assert sorted((tmp_path / "checkpoints").glob("step-*.ckpt")) == saved


def test_checkpoint_of_another_training_is_refused(train: Train, tmp_path: Path) -> None:
    killed(train, tmp_path)
    with pytest.raises(TrainingError, match="is of another training"):
        train(tmp_path, resume=True, seed=5)


def test_fresh_training_clears_what_an_unfinished_one_left(train: Train, tmp_path: Path) -> None:
    train(tmp_path / "whole")
    killed(train, tmp_path / "killed")
    train(tmp_path / "killed")
    require_equal(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signal_saves_between_two_steps_and_the_training_resumes(
    train: Train, tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "whole", checkpoint_interval_s=1e6)
    with monkeypatch.context() as patch:
        patch.setattr(pl.Callback, "on_train_batch_start", signal_at(4, number))
        with pytest.raises(StopRequested, match=number.name):
            train(tmp_path / "stopped", checkpoint_interval_s=1e6)
    saved = list((tmp_path / "stopped" / "checkpoints").glob("step-*.ckpt"))
    assert [checkpoints.load(path)["ptycho_dist"]["step"] for path in saved] == [
        6
    ]  # what the ranks wish is known a step later
    train(tmp_path / "stopped", resume=True, checkpoint_interval_s=1e6)
    require_equal(tmp_path / "stopped", tmp_path / "whole")


def signal_at(step: int, number: signal.Signals) -> Callable[..., None]:
    left = [number]

    def hook(_self: Any, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.fit_loop.total_batch_idx == step and left:
            signal.raise_signal(left.pop())

    return hook
