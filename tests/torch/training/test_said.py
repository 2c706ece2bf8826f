"""What ranks say of a step: read later, saved, and not acted on twice."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from ptycho_dist.training.module import PtychoModule
from ptycho_dist.training.said import Said, Step
from tests.support.no_reading import nothing_is_read
from tests.support.runs import simulate_tiny, train_small

STEP = Step(number=7, epoch=1, weights={"data": 1.0, "tv": 0.5}, patterns=4.0, rates={"lr": 1e-3})
TERMS = {"data": torch.tensor(3.0), "tv": torch.tensor(2.0)}
WISHES = {"stop": False, "save": True, "is_late": False}


def said(norm: float = 0.25) -> Said:
    return Said.begin(STEP, TERMS, torch.tensor(norm), WISHES)


def test_numbers_are_sent_without_reading_and_read_later() -> None:
    with nothing_is_read():
        found = said()
    assert (found.terms, found.loss, found.own_loss) == ({"data": 3.0, "tv": 2.0}, 4.0, 5.0)
    assert found.gradient_norm == 0.25
    assert found.wishes() == (False, True, False)
    assert found.is_finite


@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_gradient_that_is_not_finite_is_told(norm: float) -> None:
    assert not said(norm).is_finite


def test_state_goes_through_json_and_back() -> None:
    before = said()
    before.is_logged = True
    after = Said.of_state(json.loads(json.dumps(before.state())))
    assert after.step == STEP
    assert after.read() == before.read()
    assert after.is_logged


def test_wishes_that_are_fulfilled_are_void_and_the_rest_stays() -> None:
    found = said()
    found.void_wishes()
    assert found.wishes() == (False, False, False)
    assert (found.loss, found.gradient_norm) == (4.0, 0.25)


def test_numbers_of_a_step_are_read_with_the_next_but_for_those_that_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[tuple[int, int, bool]] = []
    plain = PtychoModule.on_after_backward

    def hook(module: PtychoModule) -> None:
        plain(module)
        waiting.append((module.steps, len(module._said), module.trainer.is_last_batch))

    monkeypatch.setattr(PtychoModule, "on_after_backward", hook)
    result: Any = train_small(simulate_tiny(tmp_path / "scan.h5"), tmp_path, max_epochs=2, batch_size=1)
    assert all(count == 0 for _, count, is_last in waiting if is_last)
    assert sum(count for *_, count, _ in waiting) >= len(waiting) // 2
    assert all(count <= 1 for _, count, _ in waiting)
    assert all(math.isfinite(loss) for loss in result.losses)
