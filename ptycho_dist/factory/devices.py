"""Settle accelerator, devices, strategy, precision and loops on this machine."""

from __future__ import annotations

import os
from dataclasses import replace

import torch

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.errors import ConfigError, LaunchError
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.launching.terminal import shows_bar

_MORE_GPUS = (
    "Show each rank one GPU of its own (SLURM: --gpus-per-task=1), or all GPUs of its node (--gpus-per-node with "
    "--gpu-bind=none), or start as many ranks on a node as there are GPUs."
)


def resolve_devices(config: PyTorchExecutionConfig, context: RankContext) -> PyTorchExecutionConfig:
    """Replace ``auto`` by what this machine and launch offer; refuse what cannot be had.

    A plain process (no launcher) may ask for more devices than its one rank:
    the payload then describes a launch that is still to come, and
    :func:`require_launch` refuses to start work without it.

    Raises
    ------
    ConfigError
        If a device, number of devices, strategy, precision or kind of loops is not available.
    LaunchError
        If a launcher started another number of ranks on this node.
    """
    accelerator = _accelerator(config.accelerator)
    devices = _devices(config.devices, accelerator, context)
    strategy = _strategy(config.strategy, devices * context.nodes)
    _check_precision(config.precision, accelerator)
    loops = _loops(config.cpu_loops, accelerator, config.precision)
    graphs = _graphs(config, accelerator)
    settled = replace(config, accelerator=accelerator, devices=devices, strategy=strategy)
    bar = shows_bar(config.enable_progress_bar, os.environ)
    return replace(settled, cpu_loops=loops, cuda_graphs=graphs, enable_progress_bar=bar)


def require_launch(config: PyTorchExecutionConfig, context: RankContext) -> None:
    """Refuse to work when the ranks on this node are not the devices asked for.

    Raises
    ------
    LaunchError
        With both numbers and the fix.
    """
    if config.devices == context.local_world:
        return
    fix = (
        f"Start {config.devices} ranks (ptycho-dist does so with --devices {config.devices}; or torchrun "
        f"--nproc-per-node {config.devices}), or set execution.devices = {context.local_world}."
    )
    msg = (
        f"execution.devices = {config.devices}, but this node has {context.local_world} "
        f"rank{'s' if context.local_world != 1 else ''} (launcher {context.launcher}: {context.why}); "
        f"expected one rank per device. {fix}"
    )
    raise LaunchError(msg)


def count_gpus() -> int:
    """Count the GPUs that this process can see."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _accelerator(wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if count_gpus() else "cpu"
    if wanted == "mps" or (wanted == "gpu" and not count_gpus() and torch.backends.mps.is_available()):
        msg = (
            f"execution.accelerator = {wanted!r} is MPS here, which has no float64, and positions are computed in "
            "that; expected cpu or cuda. Set execution.accelerator = 'cpu'."
        )
        raise ConfigError(msg)
    available = {"cpu": True, "cuda": count_gpus() > 0, "gpu": count_gpus() > 0}
    if not available[wanted]:
        msg = (
            f"execution.accelerator = {wanted!r}, but torch finds no such device here; expected one of "
            f"{', '.join(name for name, there in available.items() if there)}. Set execution.accelerator = 'cpu' or "
            "'auto'."
        )
        raise ConfigError(msg)
    return wanted


def _devices(wanted: int | str, accelerator: str, context: RankContext) -> int:
    limit = _device_limit(accelerator)
    is_launched = context.launcher != "plain"
    offered = context.local_world if is_launched else limit or 1
    devices = offered if wanted == "auto" else int(wanted)
    if is_launched:
        require_launch(PyTorchExecutionConfig(devices=devices), context)
    if limit is not None and devices > limit and not _has_own_gpu(limit, context):
        msg = (
            f"execution.devices = {devices} on {accelerator}, but this process sees {limit} "
            f"(CUDA_VISIBLE_DEVICES = {os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}); expected a GPU for each "
            f"rank. {_MORE_GPUS if is_launched else f'Set execution.devices = {limit}.'}"
        )
        raise ConfigError(msg)
    return devices


def _has_own_gpu(visible: int, context: RankContext) -> bool:
    """Tell whether a launcher may show each rank one GPU of its own; that they differ is checked where ranks meet."""
    return visible == 1 and context.launcher not in ("plain", "spawn")


def _device_limit(accelerator: str) -> int | None:
    """Devices on this node; None for a CPU, which any number of ranks may share."""
    if accelerator == "cpu":
        return None
    return count_gpus() or 1


def _strategy(wanted: str, ranks: int) -> str:
    if wanted == "auto":
        return "ddp" if ranks > 1 else "single_device"
    if wanted == "single_device" and ranks > 1:
        msg = (
            f"execution.strategy = 'single_device' with {ranks} ranks; expected 'ddp' or 'auto'. "
            "Set execution.strategy = 'auto', or execution.devices = 1."
        )
        raise ConfigError(msg)
    return wanted


def _graphs(config: PyTorchExecutionConfig, accelerator: str) -> bool:
    """Whether a training step is captured; gradients of several steps are not added up in place by graphs."""
    can = accelerator != "cpu" and config.accum_steps == 1
    if config.cuda_graphs is True and not can:
        msg = (
            f"execution.cuda_graphs = True on {accelerator} with execution.accum_steps = {config.accum_steps}; "
            "expected a GPU and accum_steps = 1. Set execution.cuda_graphs = 'auto'."
        )
        raise ConfigError(msg)
    return can if config.cuda_graphs == "auto" else bool(config.cuda_graphs)


def _loops(wanted: str, accelerator: str, precision: str) -> str:
    is_compiled = accelerator == "cpu" and precision == "32-true"
    if wanted == "compiled" and not is_compiled:
        msg = (
            f"execution.cpu_loops = 'compiled' with precision {precision} on {accelerator}; expected 32-true on cpu, "
            "for which they are. Set execution.cpu_loops = 'auto'."
        )
        raise ConfigError(msg)
    return ("compiled" if is_compiled else "torch") if wanted == "auto" else wanted


def _check_precision(precision: str, accelerator: str) -> None:
    refused = {
        ("16-mixed", "cpu"): "bf16-mixed or 32-true",
    }
    instead = refused.get((precision, accelerator))
    if instead is None and precision == "bf16-mixed" and count_gpus() and accelerator in ("gpu", "cuda"):
        instead = None if torch.cuda.is_bf16_supported() else "16-mixed or 32-true"
    if instead is not None:
        msg = (
            f"execution.precision = {precision!r} is not available on {accelerator}; expected {instead}. "
            "Change execution.precision or execution.accelerator."
        )
        raise ConfigError(msg)
