"""A training that goes wrong goes back to its last good state, and on with smaller steps."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ptycho_dist.errors import TrainingError
from ptycho_dist.training.module import PtychoModule

logger = logging.getLogger(__name__)

MOST = 8
"""Times that a training goes back before it is given up."""
FACTOR = 0.5
"""Factor on all learning rates each time."""


@dataclass(frozen=True)
class Good:
    """State of a training before a step whose loss was as it should be.

    Parameters
    ----------
    step
        Batches done before.
    weights, averaged
        Of the model, and where weights are averaged their mean.
    moments
        State of the optimiser by parameter.
    scaler
        State of the gradient scaler of 16-mixed.
    """

    step: int
    weights: dict[str, Tensor]
    averaged: dict[str, Tensor]
    moments: dict[int, dict[str, Any]]
    scaler: dict[str, Any]


class Rewind(Callback):
    """Keeps the last good state in memory, and restores it after a step that the module's watch finds fault with.

    The patterns of that step are not seen again: the training goes on with those that follow. All ranks judge by the
    same numbers, so all go back together. State and count are in the checkpoints.
    """

    def __init__(self) -> None:
        self._good: Good | None = None
        self._count, self._last = 0, 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the state before the first step."""
        if self._good is None:
            self._keep(trainer, _module(pl_module), 0)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Keep the state that the present loss was of, once in a window of good losses."""
        module = _module(pl_module)
        if module.watch.is_full and not module.agreed.fault and module.watch.turn():
            self._keep(trainer, module, module.steps - 1)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Go back after a step with a fault.

        Raises
        ------
        TrainingError
            On every rank, if the training has gone back too often.
        """
        module = _module(pl_module)
        if not module.agreed.fault:
            return
        self._count, self._last = self._count + 1, module.steps
        if self._count > MOST:
            raise TrainingError(module.failure(f"the training has gone back {MOST} times already"))
        good = self._restore(trainer, module)
        _lower(trainer)
        logger.warning(
            "step %d (epoch %d): %s; back to the state before step %d, all learning rates are %g of what they were "
            "from here on (%d of at most %d times)",
            module.agreed.fault_step, trainer.current_epoch + 1, module.agreed.fault, good.step + 1, FACTOR,
            self._count, MOST,
        )  # fmt: skip

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave no state that no loss has confirmed: after a fault, or where the last step broke the weights.

        Raises
        ------
        TrainingError
            On every rank, if there is none but the one before the first step.
        """
        module, good = _module(pl_module), self._good
        is_finite = all(bool(torch.isfinite(one).all()) for one in module.model.state_dict().values())
        if good is None or (is_finite and (good.step >= self._last or not self._last)):
            return
        if good.step == 0:
            raise TrainingError(module.failure("the training ended before it was good again"))
        self._restore(trainer, module)
        averaging = averaging_of(trainer)
        if averaging is not None:
            averaging.on_train_end(trainer, module)
        self._good = None
        logger.warning("the training ended in the state before step %d, the last that was good", good.step + 1)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Do the same where an unfinished run had done all steps: Lightning then skips the end of the training."""
        self.on_train_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {"good": None if self._good is None else vars(self._good), "count": self._count, "last": self._last}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of a checkpoint."""
        self._good = None if state_dict["good"] is None else Good(**state_dict["good"])
        self._count, self._last = state_dict["count"], state_dict["last"]

    def _keep(self, trainer: pl.Trainer, module: PtychoModule, step: int) -> None:
        averaging, scaler = averaging_of(trainer), _scaler(trainer)
        self._good = Good(
            step,
            copies_of(module.model.state_dict()),
            {} if averaging is None else copies_of(averaging.averaged()),
            deepcopy(trainer.optimizers[0].state_dict()["state"]),
            {} if scaler is None else scaler.state_dict(),
        )

    def _restore(self, trainer: pl.Trainer, module: PtychoModule) -> Good:
        good, optimizer = self._good, trainer.optimizers[0]
        averaging, scaler = averaging_of(trainer), _scaler(trainer)
        assert good is not None
        module.model.load_state_dict(good.weights)
        optimizer.load_state_dict({**optimizer.state_dict(), "state": deepcopy(good.moments)})
        optimizer.zero_grad()
        if averaging is not None:
            averaging.restore(good.averaged)
        if scaler is not None:
            scaler.load_state_dict(good.scaler)
        module.forget()
        return good


class Averaging(EMAWeightAveraging):
    """Exponential mean of the weights, which can be taken out and put back.

    Parameters
    ----------
    decay
        Share of the mean that stays in a step.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=False, decay=decay)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the mean also where an unfinished run had done all steps: Lightning then skips the training's end."""
        self.on_train_end(trainer, pl_module)

    def averaged(self) -> dict[str, Tensor]:
        """Mean weights, and how many were averaged."""
        assert self._average_model is not None
        return self._average_model.state_dict()

    def restore(self, averaged: dict[str, Tensor]) -> None:
        """Put mean weights back."""
        assert self._average_model is not None
        self._average_model.load_state_dict(averaged)

    @contextmanager
    def in_force(self, module: PtychoModule) -> Iterator[None]:
        """Let a module have the mean weights for a while."""
        self._swap_models(module)
        try:
            yield
        finally:
            self._swap_models(module)


def _lower(trainer: pl.Trainer) -> None:
    """Make all learning rates smaller, those of the schedule too."""
    for group in trainer.optimizers[0].param_groups:
        for name in ("lr", "initial_lr"):
            if name in group:
                group[name] *= FACTOR
    for config in trainer.lr_scheduler_configs:
        schedule = config.scheduler
        assert isinstance(schedule, LRScheduler)
        schedule.base_lrs = [rate * FACTOR for rate in schedule.base_lrs]


def averaging_of(trainer: pl.Trainer) -> Averaging | None:
    """Find what averages the weights of a training, if they are averaged."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set by the trainer
    return next((one for one in callbacks if isinstance(one, Averaging)), None)


def _scaler(trainer: pl.Trainer) -> torch.amp.GradScaler | None:
    plugin = trainer.precision_plugin
    return plugin.scaler if isinstance(plugin, MixedPrecision) else None


def copies_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors, which the training goes on to change."""
    return {name: value.detach().clone() for name, value in state.items()}


def _module(module: pl.LightningModule) -> PtychoModule:
    assert isinstance(module, PtychoModule)
    return module
