"""What is watched while training: speed, progress, checkpoints, early stop."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import RichProgressBarTheme

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.data.datamodule import StepBatch


class Throughput(Callback):
    """Logs the patterns that all ranks together train on per second."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of the epoch."""
        self._started, self._patterns = time.monotonic(), 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: StepBatch, batch_idx: int
    ) -> None:
        """Count the global step's patterns."""
        self._patterns += float(batch.n_patterns_global)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the epoch's speed by this rank's clock; not synced, for only rank 0's progress bar would wait for it."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        pl_module.log("patterns_per_s", self._patterns / seconds, prog_bar=True, sync_dist=False)


def build_callbacks(execution: PyTorchExecutionConfig, output_dir: Path) -> list[Callback]:
    """Build the callbacks that the execution config asks for."""
    callbacks: list[Callback] = [Throughput(), _early_stopping(execution)]
    if execution.enable_progress_bar:
        callbacks.append(RichProgressBar(theme=RichProgressBarTheme(metrics_format=".4g")))
    if execution.enable_checkpointing:
        callbacks.append(_checkpoints(execution, output_dir))
    return callbacks


def _early_stopping(execution: PyTorchExecutionConfig) -> EarlyStopping:
    return EarlyStopping(
        monitor=execution.checkpoint_monitor_metric,
        mode=execution.checkpoint_mode,
        patience=execution.early_stop_patience,
        check_on_train_epoch_end=execution.checkpoint_monitor_metric.startswith("train"),
    )


def _checkpoints(execution: PyTorchExecutionConfig, output_dir: Path) -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=output_dir / "checkpoints",
        filename="epoch-{epoch:04d}",
        auto_insert_metric_name=False,
        monitor=execution.checkpoint_monitor_metric if execution.checkpoint_save_top_k else None,
        mode=execution.checkpoint_mode,
        save_top_k=execution.checkpoint_save_top_k,
        save_last=True,
        enable_version_counter=False,
        save_on_train_epoch_end=execution.checkpoint_monitor_metric.startswith("train"),
    )
