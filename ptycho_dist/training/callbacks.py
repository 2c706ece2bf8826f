"""What is watched while training: speed, checkpoints, early stop."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping, ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.schema import TrainingConfig
from ptycho_dist.data.datamodule import StepBatch
from ptycho_dist.distributed.collectives import on_all_ranks
from ptycho_dist.launching.signals import StopSignals
from ptycho_dist.training.checkpoints import FOLDER, ResumePoint, VerifiedCheckpointIO, forget, step_path
from ptycho_dist.training.loggers import flush
from ptycho_dist.training.module import PtychoModule
from ptycho_dist.training.rewind import Averaging, Rewind

_KEPT = 2
"""Checkpoints that are kept: the newest, and the one before, should that be damaged."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Keeping:
    """Where and how the state of a training is kept.

    Parameters
    ----------
    output_dir
        Folder of the run.
    start
        Place in the order of training that an unfinished run has reached; None for a fresh one.
    stop
        Signals that ask this rank to stop.
    io
        Writes checkpoints.
    """

    output_dir: Path
    start: ResumePoint | None = None
    stop: StopSignals = field(default_factory=StopSignals)
    io: VerifiedCheckpointIO = field(default_factory=VerifiedCheckpointIO)


class Throughput(Callback):
    """Logs the patterns that all ranks together train on per second, and the seconds of an epoch."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, also of an epoch that resumes in its middle."""
        self._started, self._patterns = time.monotonic(), 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of the epoch."""
        self.on_train_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: StepBatch, batch_idx: int
    ) -> None:
        """Count the global step's patterns."""
        self._patterns += batch.n_patterns_global

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the epoch's speed by this rank's clock; not synced, for that would make ranks wait."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        pl_module.log("patterns_per_s", self._patterns / seconds, sync_dist=False)
        pl_module.log("epoch_s", seconds, sync_dist=False)


class End(Callback):
    """Ends a training where its pace says so.

    Lightning's own ``max_steps`` makes a training resumed at the end of an epoch take that epoch
    for unfinished (``_FitLoop.restarting`` of version 2.6).
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Do not begin where an unfinished run has done all steps."""
        self._look(trainer, _module(pl_module))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: StepBatch, batch_idx: int
    ) -> None:
        """End after the last step."""
        self._look(trainer, _module(pl_module))

    def _look(self, trainer: pl.Trainer, module: PtychoModule) -> None:
        if trainer.global_step >= module.pace.end:
            trainer.should_stop = True
            logger.info("training ends after %d steps: %s", trainer.global_step, module.pace.reason)


class Rehearsal(Callback):
    """Lets DDP learn in which order gradients come before the first step is counted.

    DDP puts the gradients into other buckets after its first backward, and with three ranks or
    more the last bits of a sum depend on that; a resumed training must not begin with the
    first buckets again.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go forward and backward once, and forget the gradients."""
        strategy, data = trainer.strategy, trainer.datamodule  # type: ignore[attr-defined]  # set by fit
        if not isinstance(strategy, DDPStrategy):
            return
        loss: Any = strategy.training_step(strategy.batch_to_device(data.first_batch()), 0)
        torch.autograd.backward(loss)
        pl_module.zero_grad()


class ResumePoints(Checkpoint):
    """Keeps checkpoints from which a killed or stopped training resumes exactly.

    All ranks agree in each step (:class:`~ptycho_dist.training.said.Agreed`) whether to make one: rank 0's
    clock or a signal to any rank decides.

    Parameters
    ----------
    keeping
        Where and how.
    interval_s
        Seconds between two places; 0 makes one after each step.
    """

    def __init__(self, keeping: Keeping, interval_s: float) -> None:
        self._folder, self._io, self._stop = keeping.output_dir / FOLDER, keeping.io, keeping.stop
        self._interval_s = interval_s
        self._saved = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; take SIGTERM back from Lightning, whose handler would talk to other ranks in mid-step."""
        self._stop.install()
        self._saved = time.monotonic()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: StepBatch, batch_idx: int
    ) -> None:
        """Tell the module what this rank wishes."""
        due = trainer.is_global_zero and time.monotonic() - self._saved >= self._interval_s
        _module(pl_module).wish(stop=self._stop.received is not None, save=due)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: StepBatch, batch_idx: int
    ) -> None:
        """Save between two batches, where no gradients wait; after the last one the epoch's end does it."""
        is_last = batch_idx + 1 == trainer.num_training_batches or trainer.should_stop
        if not is_last and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self._act(trainer, _module(pl_module), batch_idx + 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after the last batch of an epoch."""
        on_all_ranks(self._io.raise_failure)
        self._act(trainer, _module(pl_module), 0)

    def _act(self, trainer: pl.Trainer, module: PtychoModule, batch: int) -> None:
        """Do what the ranks have agreed on.

        Raises
        ------
        StopRequested
            On every rank, if one was told to stop; the state is saved then.
        """
        if module.agreed.save or module.agreed.stop or self._interval_s == 0:
            module.close_books()
            self._save(trainer, module, batch)
        if module.agreed.stop:
            self._stop.stop()

    def _save(self, trainer: pl.Trainer, module: PtychoModule, batch: int) -> None:
        module.mark_place(trainer.current_epoch + (batch == 0), batch)
        flush(trainer.loggers)
        trainer.save_checkpoint(step_path(self._folder, module.steps))
        on_all_ranks(self._io.raise_failure)
        self._saved = time.monotonic()
        if trainer.is_global_zero:
            forget(self._folder, keep=_KEPT)


def _module(module: pl.LightningModule) -> PtychoModule:
    assert isinstance(module, PtychoModule)
    return module


def build_callbacks(execution: PyTorchExecutionConfig, training: TrainingConfig, keeping: Keeping) -> list[Callback]:
    """Build the callbacks that the settings ask for."""
    callbacks: list[Callback] = [End(), Rewind(), Throughput(), Rehearsal(), _early_stopping(execution)]
    if training.ema_decay is not None:
        callbacks.insert(0, Averaging(training.ema_decay))
    if execution.enable_checkpointing:
        callbacks.append(_best(execution, keeping.output_dir))
        callbacks.append(ResumePoints(keeping, execution.checkpoint_interval_s))
    return callbacks


def _early_stopping(execution: PyTorchExecutionConfig) -> EarlyStopping:
    return EarlyStopping(
        monitor=execution.checkpoint_monitor_metric,
        mode=execution.checkpoint_mode,
        patience=execution.early_stop_patience,
        check_finite=False,
        check_on_train_epoch_end=execution.checkpoint_monitor_metric.startswith("train"),
    )


def _best(execution: PyTorchExecutionConfig, output_dir: Path) -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=output_dir / FOLDER,
        filename="epoch-{epoch:04d}",
        auto_insert_metric_name=False,
        monitor=execution.checkpoint_monitor_metric if execution.checkpoint_save_top_k else None,
        mode=execution.checkpoint_mode,
        save_top_k=execution.checkpoint_save_top_k,
        save_last=True,
        enable_version_counter=False,
        save_on_train_epoch_end=execution.checkpoint_monitor_metric.startswith("train"),
    )
