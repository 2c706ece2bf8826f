"""The Lightning module: one global step on this rank's share."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from ptycho_dist.data.datamodule import StepBatch
from ptycho_dist.distributed.collectives import all_reduce_sum
from ptycho_dist.errors import TrainingError
from ptycho_dist.factory.payload import TrainingPayload
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.training.optim import build_optimizer, build_scheduler

_STAGES = ("train", "val")


class PtychoModule(pl.LightningModule):
    """Minimises the misfit of overlapping patches to all their patterns.

    The loss of a step is the misfit summed over all ranks' patterns, divided by
    the photons of the global step, so it does not depend on the number of ranks.
    With the amplitude likelihood it is the square of the Fourier error.

    Parameters
    ----------
    model
        Network and physics.
    payload
        Settings, the same on every rank.
    world
        Number of ranks (DDP divides gradients by it).
    """

    def __init__(self, model: PtychoModel, payload: TrainingPayload, world: int) -> None:
        super().__init__()
        self.model = model
        self._training, self._execution = payload.training_config, payload.execution_config
        self._photons = payload.photons
        self._world = world
        self.train_losses: list[float] = []
        self._sums = {stage: torch.zeros(2, dtype=torch.float64) for stage in _STAGES}

    def training_step(self, batch: StepBatch, batch_idx: int) -> Tensor:
        """Loss of this rank; its mean over ranks is the global loss."""
        loss = self._share_of_loss(batch, "train")
        self.log("train_loss_step", loss.detach(), on_step=True, on_epoch=False, sync_dist=self._world > 1)
        return loss

    def validation_step(self, batch: StepBatch, batch_idx: int) -> None:
        """Add this rank's share to the validation loss."""
        self._share_of_loss(batch, "val")

    def on_train_epoch_end(self) -> None:
        """Log the epoch's loss over all ranks, and keep it in ``train_losses``.

        Raises
        ------
        TrainingError
            On every rank, if the loss is no longer a finite number.
        """
        loss = self._log_epoch("train")
        if not math.isfinite(loss):
            msg = (
                f"the training loss is {loss} after epoch {self.current_epoch + 1}; expected a finite number. Lower "
                f"execution.learning_rate (now {self._execution.learning_rate}) or training.probe_learning_rate (now "
                f"{self._training.probe_learning_rate}), or set execution.gradient_clip_val = 1."
            )
            raise TrainingError(msg)
        self.train_losses.append(loss)

    def on_validation_epoch_end(self) -> None:
        """Log the validation loss over all ranks."""
        self._log_epoch("val")

    def configure_optimizers(self) -> Any:
        """Optimiser and schedule of the payload."""
        optimizer = build_optimizer(self.model, self._training, self._execution)
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = build_scheduler(optimizer, self._training, self._execution, total)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _share_of_loss(self, batch: StepBatch, stage: str) -> Tensor:
        rows, columns = (int(side) for side in batch.canvas_px)
        patches = self.model.predict(batch.counts)
        canvas = self.model.assemble(patches, batch.corners_px, (rows, columns))
        misfits = self.model.misfit(self._training.likelihood, canvas, batch.corners_px, batch.counts)
        local = misfits.sum() * batch.weight
        self._sums[stage] += torch.tensor([float(local.detach()), float(batch.weight) * len(batch.counts)])
        return local * (self._world / (batch.n_patterns_global * self._photons))

    def _log_epoch(self, stage: str) -> float:
        misfit, patterns = all_reduce_sum(self._sums[stage].to(self.device)).tolist()
        self._sums[stage].zero_()
        loss: float = misfit / (patterns * self._photons)
        # Equal on all ranks already. Syncing again would hang: only rank 0's progress bar asks for the synced value.
        self.log(f"{stage}_loss", loss, prog_bar=True, sync_dist=False)
        return loss
