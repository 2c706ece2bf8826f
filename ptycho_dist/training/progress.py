"""Lines in the log that say how far a training is, for a person without a progress bar."""

from __future__ import annotations

import logging
import time

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from ptycho_dist.training.module import PtychoModule

logger = logging.getLogger(__name__)

INTERVAL_S = 5.0
"""Shortest time between two lines; the end of the training has one in any case."""


class EpochLines(Callback):
    """Logs loss and speed of an epoch on rank 0, every few seconds."""

    def __init__(self) -> None:
        self._told = -1
        self._told_at = time.monotonic()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the epoch before, if it is time."""
        if time.monotonic() - self._told_at >= INTERVAL_S:
            self._tell(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the last epoch."""
        self._tell(trainer, pl_module)

    def _tell(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, PtychoModule)
        done = len(module.train_losses)
        if not trainer.is_global_zero or done in (0, self._told):
            return
        speed = float(trainer.callback_metrics.get("patterns_per_s", float("nan")))
        logger.info(
            "epoch %d of %s: train_loss %.4g, %.0f patterns/s", done, trainer.max_epochs, module.train_losses[-1], speed
        )
        self._told, self._told_at = done, time.monotonic()
