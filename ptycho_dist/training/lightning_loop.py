"""Lightning's loop over batches without messages that ours make needless, and predictions between two steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop

T = TypeVar("T")


class QuietEpochLoop(_TrainingEpochLoop):
    """Does not ask rank 0 before each batch whether it has got SIGTERM.

    :class:`~ptycho_dist.training.callbacks.ResumePoints` takes that signal from Lightning, and the ranks agree
    on stopping in the all-reduce that each step has anyhow.
    """

    def _broadcast_sigterm_tensor(self) -> None:
        """Say nothing."""


def spare_messages(trainer: pl.Trainer) -> None:
    """Give a trainer that has ``ResumePoints`` among its callbacks the quiet loop."""
    loop = trainer.fit_loop.epoch_loop
    trainer.fit_loop.epoch_loop = QuietEpochLoop(trainer, min_steps=loop.min_steps, max_steps=loop.max_steps)


def quietly(trainer: pl.Trainer, predict: Callable[[], T]) -> T:
    """Predict without gradients, in the precision of the training; both belong to the thread that does the work."""
    with torch.no_grad(), trainer.precision_plugin.val_step_context():
        return predict()
