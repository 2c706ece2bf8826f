"""The Lightning Trainer of a payload and a launch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from inspect import signature
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from torch.nn.parallel import DistributedDataParallel

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.distributed.devices import device_of, process_group_backend
from ptycho_dist.factory.payload import TrainingPayload
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.training.callbacks import Keeping, build_callbacks
from ptycho_dist.training.cluster_environment import cluster_environment
from ptycho_dist.training.lightning_loop import spare_messages
from ptycho_dist.training.loggers import build_loggers
from ptycho_dist.training.stage_reports import StageReports

_BUFFER_SYNC = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in signature(DistributedDataParallel).parameters
)
"""Buffers never change in training; newer versions of torch renamed the switch."""


@contextmanager
def calm_lightning() -> Iterator[None]:
    """Hold back Lightning's notices (they stay in the debug log) and its warnings about its own internals."""
    lightning_log = logging.getLogger("lightning.pytorch")
    level = lightning_log.level
    debug = logging.getLogger("ptycho_dist").isEnabledFor(logging.DEBUG)
    lightning_log.setLevel(level if debug else logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        try:
            yield
        finally:
            lightning_log.setLevel(level)


def build_trainer(
    payload: TrainingPayload, context: RankContext, keeping: Keeping, further: Sequence[Callback] = ()
) -> pl.Trainer:
    """Build the Trainer; every execution knob ends here, in the loader or in the optimiser.

    Parameters
    ----------
    payload, context
        Settings, and the place of this rank.
    keeping
        Where and how the state is kept, and where a training is resumed.
    further
        Callbacks beside those that the settings name; they come after these, which mend and average weights.
    """
    execution, training = payload.execution_config, payload.training_config
    start_step = keeping.start.step if keeping.start else 0
    trainer = pl.Trainer(
        accelerator=execution.accelerator,
        devices=own_devices(execution, context),
        num_nodes=context.nodes,
        strategy=build_strategy(execution, context),
        plugins=[keeping.io, *([cluster_environment(context)] if execution.strategy == "single_device" else [])],
        precision=execution.precision,  # type: ignore[arg-type]  # checked by the execution config
        deterministic=execution.deterministic,  # type: ignore[arg-type]  # checked by the execution config
        max_epochs=training.epochs,
        accumulate_grad_batches=execution.accum_steps,
        gradient_clip_val=execution.gradient_clip_val,
        gradient_clip_algorithm=execution.gradient_clip_algorithm,
        enable_progress_bar=False,
        enable_checkpointing=execution.enable_checkpointing,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if training.val_fraction > 0 else 0,
        log_every_n_steps=1,
        logger=_loggers(payload, context, start_step),
        callbacks=[*build_callbacks(execution, training, keeping), StageReports(context.progress), *further],
        default_root_dir=training.output_dir,
    )
    if execution.enable_checkpointing:
        spare_messages(trainer)
    return trainer


def own_devices(execution: PyTorchExecutionConfig, context: RankContext) -> int | list[int]:
    """Tell Lightning how many devices a node has; of GPUs the one of this rank, for it may see no other."""
    device = device_of(execution.accelerator, context.local_rank)
    return int(execution.devices) if device.index is None else [device.index]


def _loggers(payload: TrainingPayload, context: RankContext, start_step: int) -> list[Logger]:
    backend, output_dir = payload.execution_config.logger_backend, payload.training_config.output_dir
    return build_loggers(backend, output_dir, start_step, context.rank, payload.to_dict())


def build_strategy(execution: PyTorchExecutionConfig, context: RankContext) -> Strategy:
    """Single device, or DDP over ranks that the launcher has started."""
    if execution.strategy == "single_device":
        return SingleDeviceStrategy(device=device_of(execution.accelerator, context.local_rank))
    buffers: dict[str, Any] = {_BUFFER_SYNC: False}
    device = device_of(execution.accelerator, context.local_rank)
    if device.type == "cuda":  # Lightning looks a rank's device up by its local rank
        buffers["parallel_devices"] = [device] * context.local_world
    return DDPStrategy(
        cluster_environment=cluster_environment(context),
        process_group_backend=process_group_backend(execution.accelerator),
        timeout=timedelta(seconds=execution.timeout_s),
        find_unused_parameters=False,
        gradient_as_bucket_view=True,
        **buffers,
    )
