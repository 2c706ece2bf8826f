"""Trainings bear bad scans; one that diverges, or is told to stop, says so and leaves earlier results alone."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import pytest

from benchmarks.training_scans import Cell
from ptycho_dist.data.scan import open_scan
from ptycho_dist.data.scan_set import open_source
from ptycho_dist.errors import TrainingError
from ptycho_dist.launching.environment import detect
from ptycho_dist.launching.signals import StopRequested
from ptycho_dist.training.run import run_training
from tests.support.runs import simulate_tiny, training_payload

HARD = {
    "1e2 photons": {"photons": 1e2},
    "1e7 photons": {"photons": 1e7},
    "dead row": {"fault": "dead row"},
    "beam stop": {"fault": "beam stop"},
    "defocus": {"fault": "defocus"},
    "doses 1:100": {"fault": "doses"},
}
"""Scans that a training has to bear: doses, dead pixels, a wrong probe."""


@pytest.mark.parametrize("what", HARD)
def test_losses_stay_finite_and_fall_when_the_scan_is_hard(what: str, tmp_path: Path) -> None:
    cell = Cell(N=32, n_patterns=25, defocus_m=2e-5, **HARD[what])
    path = cell.write(tmp_path / "scan.h5")
    payload = training_payload(path, tmp_path / "run", max_epochs=8)
    with open_source(path) as source:
        losses = run_training(payload, detect(os.environ), source).losses
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < losses[0]


def test_run_training_names_the_rates_when_the_loss_is_not_finite(tmp_path: Path) -> None:
    path = simulate_tiny(tmp_path / "scan.h5")
    payload = training_payload(path, tmp_path, max_epochs=3)
    object.__setattr__(payload.execution_config, "learning_rate", 1e30)  # no setting may be so large
    with open_scan(path) as scan, pytest.raises(TrainingError, match=r"Lower execution\.learning_rate"):
        run_training(payload, detect(os.environ), scan)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, StopRequested)], ids=["int", "term"]
)
def test_run_training_tells_a_signal_as_what_it_was(
    tmp_path: Path, number: signal.Signals, raised: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = simulate_tiny(tmp_path / "scan.h5")
    payload = training_payload(path, tmp_path, max_epochs=10000)
    monkeypatch.setattr(pl.Callback, "on_train_batch_start", _send(number))
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    # A shell lets the processes that it puts into the background ignore this signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open_scan(path) as scan, pytest.raises(raised) as caught:
        run_training(payload, detect(os.environ), scan)
    for one, handler in before.items():
        signal.signal(one, handler)
    saved = list((tmp_path / "checkpoints").glob("step-*.ckpt"))
    assert len(saved) == (1 if raised is StopRequested else 0)
    assert not isinstance(caught.value, StopRequested) or caught.value.number == signal.SIGTERM
    assert not (tmp_path / "bundle").exists()


def _send(number: signal.Signals) -> Callable[..., None]:
    """Make a Lightning hook that gives this process one signal at once, however many callbacks call it."""
    left = [number]

    def hook(*_: object) -> None:
        if left:
            signal.raise_signal(left.pop())

    return hook
