"""A training that goes wrong goes back to its last good state, and on with smaller steps; it never ends in NaN."""

from __future__ import annotations

import logging
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ptycho_dist.data.scan_set import open_source
from ptycho_dist.errors import TrainingError
from ptycho_dist.launching.environment import detect
from ptycho_dist.launching.signals import StopRequested, StopSignals
from ptycho_dist.model.features import bounded
from ptycho_dist.training import watch as watching
from ptycho_dist.training.module import PtychoModule
from ptycho_dist.training.run import TrainingResult, run_training
from ptycho_dist.training.watch import Watch
from tests.support.runs import forget_launchers, simulate_tiny, training_payload

WINDOW = 8
"""Steps of a window here, so that tests are short."""


@pytest.fixture(autouse=True)
def _one_plain_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_launchers(monkeypatch)
    monkeypatch.setattr(watching, "WINDOW", WINDOW)


def train(scan: Path, output: Path, *, resume: bool = False, **settings: Any) -> TrainingResult:
    payload = training_payload(
        scan,
        output,
        **({"max_epochs": 20, "batch_size": 2, "enable_checkpointing": resume or "parts" in output.name} | settings),
    )
    with open_source(scan) as source, StopSignals() as stop:
        return run_training(payload, detect(os.environ), source, stop=stop, resume=resume)


def poison(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """Put a number that is not finite into the gradient of some steps (from 1)."""
    plain = PtychoModule.on_after_backward

    def hook(module: PtychoModule) -> None:
        if module.steps + 1 in steps:
            next(iter(module.model.networks.parameters())).grad.view(-1)[0] = math.nan  # type: ignore[union-attr]
        plain(module)

    monkeypatch.setattr(PtychoModule, "on_after_backward", hook)


def weights_of(result: TrainingResult) -> dict[str, torch.Tensor]:
    return load_file(next(result.bundle_path.glob("*.safetensors")))


@pytest.mark.parametrize("settings", [{}, {"accum_steps": 2}, {"ema_decay": 0.9}, {"scheduler": "ReduceLROnPlateau"}])
def test_gradient_that_is_not_finite_is_rewound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, settings: dict[str, Any]
) -> None:
    poison(monkeypatch, WINDOW + 9)
    with caplog.at_level(logging.WARNING, logger="ptycho_dist"):
        result = train(simulate_tiny(tmp_path / "scan.h5"), tmp_path, **settings)
    said = [one.getMessage() for one in caplog.records if "back to the state" in one.getMessage()]
    assert len(said) == 1
    assert f"step {WINDOW + 9} (" in said[0]
    assert "the norm of the gradient is nan" in said[0]
    assert "0.5 of what they were" in said[0]
    assert math.isfinite(result.losses[-1])
    assert result.losses[-1] < 0.9 * result.losses[0]
    assert all(bool(torch.isfinite(one).all()) for one in weights_of(result).values())


def test_real_divergence_is_rewound_until_the_rate_is_small_enough(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="ptycho_dist"):
        result = train(
            simulate_tiny(tmp_path / "scan.h5"), tmp_path, learning_rate=20.0, optimizer="sgd", scheduler="Default",
            gradient_clip_val=None,
        )  # fmt: skip
    assert result.losses[-1] < 1
    assert any("back to the state" in one.getMessage() for one in caplog.records)
    assert all(math.isfinite(one) for one in result.losses)
    assert all(bool(torch.isfinite(one).all()) for one in weights_of(result).values())


def test_rewound_training_resumes_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan, bad = simulate_tiny(tmp_path / "scan.h5"), (WINDOW + 9, WINDOW + 20)
    poison(monkeypatch, *bad)
    whole = train(scan, tmp_path / "whole")
    with monkeypatch.context() as within:
        within.setattr(PtychoModule, "on_train_batch_start", _stop_at(WINDOW + 14))
        with pytest.raises(StopRequested):
            train(scan, tmp_path / "parts")
    rest = train(scan, tmp_path / "parts", resume=True)
    assert rest.losses == whole.losses
    found, expected = weights_of(rest), weights_of(whole)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def _stop_at(step: int) -> Callable[..., None]:
    def hook(module: PtychoModule, *_: object) -> None:
        if module.steps == step:
            signal.raise_signal(signal.SIGTERM)

    return hook


def test_training_that_goes_wrong_too_often_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, *range(1, 100))
    with pytest.raises(TrainingError, match=r"has gone back 8 times already.*Lower execution\.learning_rate"):
        train(simulate_tiny(tmp_path / "scan.h5"), tmp_path)
    assert not (tmp_path / "bundle").exists()


def test_last_step_that_breaks_the_weights_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, 3 * WINDOW)
    result = train(simulate_tiny(tmp_path / "scan.h5"), tmp_path, max_steps=3 * WINDOW)
    assert all(bool(torch.isfinite(one).all()) for one in weights_of(result).values())


def test_watch_tells_an_explosion_from_an_uneven_set() -> None:
    watch, weights = Watch(), {"data": 1.0}
    uneven = [100.0 if step % 10 == 0 else 1.0 for step in range(WINDOW)]
    for _ in range(3):
        assert not any(watch.look(loss, 1.0, weights) for loss in uneven)
        assert watch.is_full
        watch.turn()
    assert "add up to" in watch.look(1e4, 1.0, weights)
    assert not Watch().look(1e4, 1.0, weights)


def test_watch_begins_anew_where_the_loss_means_something_else() -> None:
    watch = Watch()
    for _ in range(WINDOW):
        watch.look(1.0, 1.0, {"data": 1.0})
    watch.turn()
    assert not watch.look(1e6, 1.0, {"data": 0.5, "label": 0.5})


def test_exponents_are_exact_in_the_normal_range_and_bounded_beyond() -> None:
    log = torch.tensor([-1e9, -40.0, -3.5, -3.0, -1.0, 0.0, 2.9, 4.0, 1e9], dtype=torch.float64)
    exponent = torch.complex(log, log.flip(0)).view(1, 3, 3).requires_grad_()
    found = bounded(exponent)
    log = log.view(1, 3, 3)
    is_normal = log.abs() <= 3
    assert torch.equal(found.real[is_normal], log[is_normal])
    assert torch.equal(found.imag, exponent.imag)
    assert float(found.real.detach().abs().max()) <= 5
    small = (
        torch.complex(torch.tensor([-3.7, 0.5, 3.2]), torch.tensor([0.1, 0.2, 0.3])).to(torch.complex128).view(3, 1, 1)
    )
    assert torch.autograd.gradcheck(bounded, small.requires_grad_())
