"""Tests of device resolution on a CPU."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.distributed.devices import device_of
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


@pytest.mark.parametrize(
    ("wanted", "precision", "found"),
    [("auto", "32-true", "compiled"), ("auto", "64-true", "torch"), ("torch", "32-true", "torch")],
)
def test_loops_are_compiled_where_they_can_be(wanted: str, precision: str, found: str) -> None:
    given = PyTorchExecutionConfig(accelerator="cpu", devices=1, precision=precision, cpu_loops=wanted)
    assert resolve_devices(given, spawned(1)).cpu_loops == found


def test_compiled_loops_are_refused_where_there_are_none() -> None:
    given = PyTorchExecutionConfig(accelerator="cpu", devices=1, precision="64-true", cpu_loops="compiled")
    with pytest.raises(
        ConfigError, match="cpu_loops = 'compiled' with precision 64-true on cpu; expected 32-true on cpu"
    ):
        resolve_devices(given, spawned(1))


@pytest.mark.parametrize("wanted", ["auto", False])
def test_no_graphs_are_captured_on_a_cpu(wanted: bool | str) -> None:
    given = PyTorchExecutionConfig(accelerator="cpu", devices=1, cuda_graphs=wanted)
    assert resolve_devices(given, spawned(1)).cuda_graphs is False


def test_graphs_are_refused_where_they_cannot_be() -> None:
    given = PyTorchExecutionConfig(accelerator="cpu", devices=1, cuda_graphs=True, accum_steps=3)
    with pytest.raises(ConfigError, match=r"cuda_graphs = True on cpu with execution\.accum_steps = 3; expected a GPU"):
        resolve_devices(given, spawned(1))


def test_resolve_devices_keeps_what_was_given() -> None:
    given = PyTorchExecutionConfig(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        precision="bf16-mixed",
        cpu_loops="torch",
        cuda_graphs=False,
        enable_progress_bar=True,
    )
    assert resolve_devices(given, spawned(2)) == given


def test_resolve_devices_refuses_one_device_on_two_nodes() -> None:
    with pytest.raises(ConfigError, match="'single_device' with 2 ranks"):
        resolve_devices(PyTorchExecutionConfig(strategy="single_device"), spawned(1, nodes=2))


def test_mps_is_refused_for_it_has_no_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for accelerator in ("mps", "gpu"):
        with pytest.raises(ConfigError, match="no float64"):
            resolve_devices(PyTorchExecutionConfig(accelerator=accelerator), detect({}))
    assert resolve_devices(PyTorchExecutionConfig(), detect({})).accelerator == "cpu"


@pytest.mark.parametrize("accelerator", ["cuda", "gpu"])
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


RECORDED: dict[str, list[dict[str, str]]] = json.loads(
    (Path(__file__).parents[1] / "launching" / "recorded" / "launchers.json").read_text(encoding="ascii")
)


@pytest.fixture
def see(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let torch count so many GPUs in this process."""

    def let(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)

    return let


@pytest.mark.parametrize("launch", ["srun_1node", "openmpi", "mpich", "torchrun"])
@pytest.mark.parametrize("devices", ["auto", 2])
@pytest.mark.parametrize(("visible", "indexes"), [(1, [0, 0]), (2, [0, 1]), (4, [0, 1])])
def test_rank_uses_the_gpu_that_it_sees_alone_or_the_one_of_its_local_rank(
    see: Callable[[int], None], launch: str, devices: int | str, visible: int, indexes: list[int]
) -> None:
    see(visible)
    contexts = [detect(env) for env in RECORDED[launch]]
    found = [resolve_devices(PyTorchExecutionConfig(devices=devices), one) for one in contexts]
    assert [(one.accelerator, one.devices, one.strategy) for one in found] == [("cuda", 2, "ddp")] * 2
    assert [device_of("cuda", one.local_rank).index for one in contexts] == indexes


@pytest.mark.parametrize("devices", ["auto", 2])
def test_ranks_of_our_supervisor_need_a_gpu_each(see: Callable[[int], None], devices: int | str) -> None:
    see(1)
    with pytest.raises(ConfigError, match=r"devices = 2 on cuda, but this process sees 1 .*start as many ranks"):
        resolve_devices(PyTorchExecutionConfig(devices=devices), spawned(2))


def test_ranks_that_see_too_few_gpus_are_refused_with_a_fix_that_is_accepted(see: Callable[[int], None]) -> None:
    see(2)
    four = replace(detect(RECORDED["srun_1node"][0]), world=4, local_world=4)
    for devices in ("auto", 4):
        with pytest.raises(ConfigError, match=r"sees 2 \(CUDA_VISIBLE_DEVICES = .*--gpus-per-task=1"):
            resolve_devices(PyTorchExecutionConfig(devices=devices), four)
    see(1)
    assert resolve_devices(PyTorchExecutionConfig(), four).devices == 4


def test_plain_process_is_told_a_number_that_it_can_have(see: Callable[[int], None]) -> None:
    see(2)
    with pytest.raises(ConfigError, match=r"Set execution\.devices = 2\."):
        resolve_devices(PyTorchExecutionConfig(devices=3), detect({}))
    assert resolve_devices(PyTorchExecutionConfig(devices=2), detect({})).devices == 2
