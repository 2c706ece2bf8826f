"""Every pair of values of the settings that decide how a step is done trains together."""

from __future__ import annotations

import itertools
import math
import os
from pathlib import Path
from typing import Any

import pytest

from ptycho_dist.data.scan import Scan
from ptycho_dist.launching.environment import detect
from ptycho_dist.training.run import run_training
from tests.support.runs import training_payload

pytestmark = pytest.mark.usefixtures("same_process_afterwards")

VALUES: dict[str, tuple[Any, ...]] = {
    "scheduler": ("Default", "WarmupCosine", "Exponential", "ReduceLROnPlateau"),
    "precision": ("32-true", "64-true", "bf16-mixed"),
    "optimizer": ("adamw", "adam", "sgd"),
    "deterministic": (True, False, "warn"),
    "gradient_clip_val": (None, 0.5),
    "gradient_clip_algorithm": ("norm", "value"),
    "accum_steps": (1, 3),
    "strategy": ("single_device", "ddp"),
    "val_fraction": (0.0, 0.3),
    "ema_decay": (None, 0.9),
    "intensity_scale_trainable": (False, True),
}
Settings = dict[str, Any]
Pair = tuple[tuple[str, Any], tuple[str, Any]]


def pairs_of(settings: Settings) -> set[Pair]:
    return set(itertools.combinations(sorted(settings.items()), 2))


def covering() -> list[Settings]:
    """Few combinations that hold every pair of values; each is made greedily around a pair that is not held yet."""
    left = {
        ((one, a), (other, b))
        for one, other in itertools.combinations(sorted(VALUES), 2)
        for a, b in itertools.product(VALUES[one], VALUES[other])
    }
    rows: list[Settings] = []
    while left:
        row = dict(min(left, key=repr))
        for name in VALUES:
            if name not in row:
                gains = {value: len(pairs_of(row | {name: value}) & left) for value in VALUES[name]}
                row[name] = max(gains, key=lambda value: gains[value])
        left -= pairs_of(row)
        rows.append(row)
    return rows


ROWS = covering()


def test_combinations_hold_every_pair() -> None:
    held = set().union(*(pairs_of(row) for row in ROWS))
    assert len(held) == sum(len(a) * len(b) for a, b in itertools.combinations(VALUES.values(), 2))
    assert len(ROWS) < 30


@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_settings_that_are_accepted_together_train_together(
    tiny_path: Path, tiny_scan: Scan, tmp_path: Path, row: Settings
) -> None:
    payload = training_payload(tiny_path, tmp_path, max_epochs=2, **row)
    losses = run_training(payload, detect(os.environ), tiny_scan).losses
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
