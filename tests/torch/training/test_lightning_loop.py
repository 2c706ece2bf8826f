"""The one private part of Lightning that the package relies on is as it was in version 2.6."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from pathlib import Path

import pytest
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop

from ptycho_dist.data.scan import Scan
from ptycho_dist.launching.environment import detect
from ptycho_dist.training.callbacks import Keeping
from ptycho_dist.training.lightning_loop import QuietEpochLoop
from ptycho_dist.training.trainer import build_trainer, calm_lightning
from tests.support.runs import training_payload

TOLD = f"Lightning is {version('lightning')}; training/lightning_loop.py was written for 2.6. See if it fits."


def test_lightning_still_asks_for_signals_by_the_method_that_is_silenced() -> None:
    assert "self._broadcast_sigterm_tensor()" in inspect.getsource(_TrainingEpochLoop.advance), TOLD
    assert list(inspect.signature(_TrainingEpochLoop).parameters) == ["trainer", "min_steps", "max_steps"], TOLD


@pytest.mark.parametrize("enable_checkpointing", [True, False])
def test_loop_is_quiet_only_where_signals_are_ours(tiny_scan: Scan, tmp_path: Path, enable_checkpointing: bool) -> None:
    payload = training_payload(tiny_scan.header.path, tmp_path, enable_checkpointing=enable_checkpointing)
    with calm_lightning():
        trainer = build_trainer(payload, detect({}), Keeping(tmp_path))
    assert isinstance(trainer.fit_loop.epoch_loop, QuietEpochLoop) == enable_checkpointing
