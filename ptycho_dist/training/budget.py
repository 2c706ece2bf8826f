"""Slows a training down when more of it no longer pays, or its time is nearly up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from ptycho_dist.config.schema import TrainingConfig
from ptycho_dist.data.datamodule import ScanBatch
from ptycho_dist.distributed.collectives import on_all_ranks
from ptycho_dist.evaluate.group_error import fourier_error, squared_residual
from ptycho_dist.training import loggers
from ptycho_dist.training.module import PtychoModule
from ptycho_dist.training.pace import DECAY

LOOK_EVERY = 50
"""Steps between two looks at the regions."""
METRIC = "region_fourier_error"


class Budget(Callback):
    """Looks at a few regions every 50 steps, and at the clock of rank 0 after each step.

    Parameters
    ----------
    training
        Bounds.
    regions
        Patterns of a few places, all that see them; training groups of a dense scan hold some.
    """

    def __init__(self, training: TrainingConfig, regions: Sequence[ScanBatch]) -> None:
        self._training, self._regions = training, regions
        self._seconds, self._since, self._looked = 0.0, time.monotonic(), 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; seconds of an unfinished run count."""
        self._regions = [trainer.strategy.batch_to_device(one) for one in self._regions]
        self._since = time.monotonic()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Let rank 0 say whether it is time to come to an end."""
        limit = self._training.max_time_s
        if limit is not None and trainer.is_global_zero:
            _module(pl_module).wish(is_late=self._elapsed() >= (1 - DECAY) * limit)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look, if it is time."""
        module, step = _module(pl_module), trainer.global_step
        if module.agreed.is_late and not module.pace.is_decaying(step):
            module.pace.slow_down(step, f"training.max_time = {self._training.max_time} is nearly up")
        if step % LOOK_EVERY == 0 and step > self._looked and not module.pace.is_decaying(step):
            self._looked = step
            if module.is_doubtful:
                return
            error = self.error(module)
            loggers.record(trainer.loggers, {METRIC: error, "epoch": trainer.current_epoch}, module.steps - 1)
            module.pace.look(step, error)

    def error(self, module: PtychoModule) -> float:
        """Fourier error over all regions; the same on every rank, for each computes it."""
        return on_all_ranks(lambda: self._error(module))

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {"seconds": self._elapsed(), "looked": self._looked}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of a checkpoint."""
        self._seconds, self._looked = state_dict["seconds"], state_dict["looked"]

    def _error(self, module: PtychoModule) -> float:
        residuals = [squared_residual(module.model_of(one), one) for one in self._regions]
        return fourier_error(torch.stack(residuals).sum(dim=0))

    def _elapsed(self) -> float:
        return self._seconds + time.monotonic() - self._since


def _module(module: pl.LightningModule) -> PtychoModule:
    assert isinstance(module, PtychoModule)
    return module
