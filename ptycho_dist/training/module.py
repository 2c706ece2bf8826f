"""The Lightning module: one global step on this rank's share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NoReturn

import lightning.pytorch as pl
import torch
from torch import Tensor

from ptycho_dist.data.datamodule import StepBatch
from ptycho_dist.distributed.collectives import all_gather_object, all_reduce_sum
from ptycho_dist.errors import TrainingError
from ptycho_dist.factory.payload import TrainingPayload
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.training import loggers
from ptycho_dist.training.checkpoints import STATE_KEY
from ptycho_dist.training.optim import build_optimizer, build_scheduler


@dataclass(frozen=True)
class Agreed:
    """What all ranks know after a step.

    Parameters
    ----------
    misfit
        Misfit of the global step.
    stop, save
        Whether any rank wants to stop, or to save.
    """

    misfit: float
    stop: bool
    save: bool


@dataclass(frozen=True)
class _Own:
    """Misfit of this rank in a step, and patterns of the step over all ranks."""

    misfit: Tensor
    patterns: float


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
        self._photons, self._fingerprint = payload.photons, payload.result_fingerprint()
        self._support_px = payload.model_config.probe_support_px
        self._world = world
        self.train_losses: list[float] = []
        self.steps = 0
        """Batches done in all."""
        self.agreed = Agreed(0.0, stop=False, save=False)
        self._wish = (False, False)
        self._own: _Own | None = None
        self._place = (0, 0)
        self._epoch_sums = [0.0, 0.0]
        self._val_sums = torch.zeros(2, dtype=torch.float64)

    def wish(self, *, stop: bool, save: bool) -> None:
        """Say what this rank wants after the coming step."""
        self._wish = (stop, save)

    def mark_place(self, epoch: int, batch: int) -> None:
        """Say where in the order of training the state to be saved lies: batches done of which epoch."""
        self._place = (epoch, batch)

    def training_step(self, batch: StepBatch, batch_idx: int) -> Tensor:
        """Loss of this rank; its mean over ranks is the global loss."""
        misfit, patterns = self._misfit(batch), float(batch.n_patterns_global)
        self._own = _Own(misfit.detach(), patterns)
        return misfit * (self._world / (patterns * self._photons))

    def on_after_backward(self) -> None:
        """Agree on the step; here, because the ranks have just waited for each other's gradients.

        Raises
        ------
        TrainingError
            On every rank, if the loss of one is no longer a finite number.
        """
        own = self._own
        if own is None:
            msg = "no step was made before this backward pass; expected training_step to come first"
            raise TrainingError(msg)
        self.agreed = self._agree(float(own.misfit))
        self._epoch_sums[0] += self.agreed.misfit
        self._epoch_sums[1] += own.patterns
        self._record({"train_loss_step": self.agreed.misfit / (own.patterns * self._photons)})
        self.steps += 1

    def rehearse(self, batch: StepBatch) -> Tensor:
        """Use every trainable parameter once, for a gradient of zero."""
        return self._misfit(batch) * 0.0

    def validation_step(self, batch: StepBatch, batch_idx: int) -> None:
        """Add this rank's share to the validation loss."""
        misfit = self._misfit(batch)
        self._val_sums += torch.tensor([float(misfit), float(batch.weight) * len(batch.counts)])

    def on_train_epoch_end(self) -> None:
        """Log the epoch's loss over all ranks, and keep it in ``train_losses``."""
        misfit, patterns = self._epoch_sums
        self._epoch_sums = [0.0, 0.0]
        self.train_losses.append(misfit / (patterns * self._photons))
        self._log_epoch("train_loss", self.train_losses[-1])

    def on_validation_epoch_end(self) -> None:
        """Log the validation loss over all ranks."""
        misfit, patterns = all_reduce_sum(self._val_sums).tolist()
        self._val_sums.zero_()
        self._log_epoch("val_loss", misfit / (patterns * self._photons))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what our part of the training needs to go on; the same on every rank."""
        epoch, batch = self._place
        checkpoint[STATE_KEY] = {
            "fingerprint": self._fingerprint,
            "epoch": epoch,
            "batch": batch,
            "step": self.steps,
            "epoch_sums": list(self._epoch_sums),
            "train_losses": list(self.train_losses),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take our part of a saved training back."""
        state = checkpoint[STATE_KEY]
        self.steps, self._epoch_sums = state["step"], list(state["epoch_sums"])
        self.train_losses = list(state["train_losses"])

    def configure_optimizers(self) -> Any:
        """Optimiser and schedule of the payload."""
        optimizer = build_optimizer(self.model, self._training, self._execution)
        total = int(self.trainer.estimated_stepping_batches)
        total = min(total, self._training.max_steps or total)
        scheduler = build_scheduler(optimizer, self._training, self._execution, total)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _misfit(self, batch: StepBatch) -> Tensor:
        """Misfit of this rank's share, summed."""
        return self._misfit_of(self.model, batch)

    def _misfit_of(self, model: PtychoModel, batch: StepBatch) -> Tensor:
        rows, columns = (int(side) for side in batch.canvas_px)
        patches = model.predict(batch.counts)
        canvas = model.assemble(patches, batch.corners_px, (rows, columns))
        misfits = model.misfit(self._training.likelihood, canvas, batch.corners_px, batch.counts)
        return misfits.sum() * batch.weight

    def _agree(self, misfit: float) -> Agreed:
        """Add the misfits of all ranks up, and find out what any of them wishes."""
        own = [misfit, *(float(wish) for wish in self._wish)]
        total, stop, save = all_reduce_sum(torch.tensor(own, dtype=torch.float64)).tolist()
        if not math.isfinite(total):
            self._refuse(all_gather_object(misfit))
        return Agreed(total, stop=stop > 0, save=save > 0)

    def _refuse(self, misfits: list[float]) -> NoReturn:
        bad = [f"{misfit} on rank {rank}" for rank, misfit in enumerate(misfits) if not math.isfinite(misfit)]
        msg = (
            f"the training loss is no finite number in step {self.steps + 1} (epoch {self.current_epoch + 1}): "
            f"{', '.join(bad)}; expected a finite number. Lower execution.learning_rate (now "
            f"{self._execution.learning_rate}) or training.probe_learning_rate (now "
            f"{self._training.probe_learning_rate}), or set execution.gradient_clip_val = 1; start anew with --resume "
            "false."
        )
        raise TrainingError(msg)

    def _log_epoch(self, name: str, loss: float) -> None:
        # Equal on all ranks already. Syncing again would hang: only rank 0's progress bar asks for the synced value.
        self.log(name, loss, prog_bar=True, logger=False, sync_dist=False)
        self._record({name: loss}, self.steps - 1)

    def _record(self, values: dict[str, float], step: int | None = None) -> None:
        """Log values at once, so that a checkpoint never is ahead of the log."""
        loggers.record(
            self.trainer.loggers, values | {"epoch": self.current_epoch}, self.steps if step is None else step
        )  # fmt: skip
