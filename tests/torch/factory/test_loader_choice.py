"""Loader knobs that nobody gave suit the device; those that were given stay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ptycho_dist.config import precedence
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.precedence import OVERRIDE, Level
from ptycho_dist.factory.loader import choose_loader
from ptycho_dist.factory.settings import build

NAMES = ("num_workers", "pin_memory", "persistent_workers", "prefetch_factor")


def chosen(accelerator: str, *, trains: bool = True, **given: Any) -> tuple[Any, ...]:
    values = {f"execution.{name}": value for name, value in given.items()}
    levels = [Level(OVERRIDE, values), precedence.defaults({"execution": PyTorchExecutionConfig})]
    resolution = precedence.resolve(levels)
    config = build(PyTorchExecutionConfig, "execution", resolution)
    found = choose_loader(replace(config, accelerator=accelerator), resolution, trains=trains)
    return tuple(getattr(found, name) for name in NAMES)


@pytest.mark.parametrize(
    ("accelerator", "trains", "given", "expected"),
    [
        ("cpu", True, {}, (0, False, False, None)),
        ("cuda", True, {}, (2, True, True, 4)),
        ("cuda", False, {}, (0, True, False, None)),
        ("cuda", True, {"num_workers": 0}, (0, True, False, None)),
        ("cuda", True, {"num_workers": 5, "pin_memory": False}, (5, False, True, 4)),
        ("cuda", True, {"prefetch_factor": 7, "persistent_workers": False}, (2, True, False, 7)),
        ("cpu", True, {"num_workers": 3}, (3, False, False, None)),
    ],
)
def test_loader_suits_the_device_unless_it_was_given(
    accelerator: str, trains: bool, given: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    assert chosen(accelerator, trains=trains, **given) == expected
