"""The trainer sends no needless messages where our callback answers signals, and Lightning's own elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ptycho_dist.data.scan import Scan
from ptycho_dist.launching.environment import detect
from ptycho_dist.training.callbacks import Keeping
from ptycho_dist.training.lightning_loop import QuietEpochLoop
from ptycho_dist.training.trainer import build_trainer, calm_lightning
from tests.support.runs import forget_launchers, training_payload


@pytest.mark.parametrize("enable_checkpointing", [True, False])
def test_trainer_has_the_quiet_loop_only_where_signals_are_ours(
    tiny_scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, enable_checkpointing: bool
) -> None:
    forget_launchers(monkeypatch)
    payload = training_payload(
        tiny_scan.header.path, tmp_path, enable_checkpointing=enable_checkpointing, max_steps=7, max_epochs=3
    )
    with calm_lightning():
        trainer = build_trainer(payload, detect({}), Keeping(tmp_path))
    assert isinstance(trainer.fit_loop.epoch_loop, QuietEpochLoop) == enable_checkpointing
    assert trainer.max_epochs == 3


def test_quiet_loop_says_nothing_to_other_ranks(
    tiny_scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_launchers(monkeypatch)
    payload = training_payload(tiny_scan.header.path, tmp_path)
    with calm_lightning():
        trainer = build_trainer(payload, detect({}), Keeping(tmp_path))
    said: list[object] = []
    monkeypatch.setattr(torch.distributed, "broadcast", lambda *args, **_: said.append(args))
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor()
    assert said == []
