"""Tests of device resolution on a CPU."""

from __future__ import annotations

import re

import pytest

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.errors import ConfigError, LaunchError
from ptycho_dist.factory.devices import count_gpus, require_launch, resolve_devices
from ptycho_dist.launching.environment import RankContext, detect


def spawned(world: int, nodes: int = 1) -> RankContext:
    return RankContext(
        rank=0,
        world=world * nodes,
        local_rank=0,
        local_world=world,
        node_rank=0,
        nodes=nodes,
        launcher="spawn",
        why="test",
        main_address="127.0.0.1",
        main_port=1,
    )


@pytest.mark.parametrize(
    ("context", "devices", "strategy"),
    [
        (detect({}), 1, "single_device"),
        (spawned(1), 1, "single_device"),
        (spawned(3), 3, "ddp"),
        (spawned(1, nodes=2), 1, "ddp"),
    ],
)
def test_resolve_devices_takes_what_was_launched(context: RankContext, devices: int, strategy: str) -> None:
    resolved = resolve_devices(PyTorchExecutionConfig(), context)
    assert (resolved.accelerator, resolved.devices, resolved.strategy) == ("cpu", devices, strategy)


def test_resolve_devices_keeps_what_was_given() -> None:
    given = PyTorchExecutionConfig(accelerator="cpu", devices=2, strategy="ddp", precision="bf16-mixed")
    assert resolve_devices(given, spawned(2)) == given


def test_resolve_devices_refuses_one_device_on_two_nodes() -> None:
    with pytest.raises(ConfigError, match="'single_device' with 2 ranks"):
        resolve_devices(PyTorchExecutionConfig(strategy="single_device"), spawned(1, nodes=2))


@pytest.mark.parametrize("accelerator", ["cuda", "gpu", "mps"])
def test_resolve_devices_refuses_when_the_device_is_not_here(accelerator: str) -> None:
    assert count_gpus() == 0
    with pytest.raises(ConfigError, match=f"execution.accelerator = '{accelerator}'.*expected one of cpu"):
        resolve_devices(PyTorchExecutionConfig(accelerator=accelerator), detect({}))


@pytest.mark.parametrize(("devices", "world"), [(1, 2), (3, 2), (2, 1)])
def test_resolve_devices_refuses_when_the_launcher_started_another_number(devices: int, world: int) -> None:
    with pytest.raises(LaunchError, match=f"devices = {devices}, but this node has {world} rank"):
        resolve_devices(PyTorchExecutionConfig(devices=devices), spawned(world))


def test_require_launch_refuses_a_plain_process_that_was_promised_more() -> None:
    config = resolve_devices(PyTorchExecutionConfig(devices=2), detect({}))
    with pytest.raises(LaunchError, match=re.escape("ptycho-dist does so with --devices 2")):
        require_launch(config, detect({}))
    require_launch(config, spawned(2))
