"""Reports a training, step by step, as the present stage of a job."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from ptycho_dist.data.datamodule import StepBatch
from ptycho_dist.progress.tracker import Progress
from ptycho_dist.training.module import PtychoModule


class StageReports(Callback):
    """Reports steps, epoch and loss; the losses are those that the host knows already.

    Parameters
    ----------
    progress
        Where.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say how many steps there are, and how many an unfinished run has done."""
        self._progress.expect(_module(pl_module).pace.end, "steps", trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: StepBatch, batch_idx: int
    ) -> None:
        """Report a step."""
        module = _module(pl_module)
        self._progress.report(
            trainer.global_step,
            module.pace.end,
            batch.n_patterns_global,
            f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}",
            module.latest_losses(),
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the losses of a whole epoch."""
        self._progress.report(values=_module(pl_module).latest_losses())


def _module(module: pl.LightningModule) -> PtychoModule:
    assert isinstance(module, PtychoModule)
    return module
