"""Predicts scans that are held back, in the middle of a training, and keeps the weights that did it best."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from ptycho_dist.data.datamodule import ScanDataModule
from ptycho_dist.distributed.collectives import all_gather_object, on_all_ranks
from ptycho_dist.distributed.sharding import local_slice, shard
from ptycho_dist.evaluate.group_error import spread
from ptycho_dist.evaluate.whole_scan import ScanQuality, compact_rows, judge_scan, mean_quality
from ptycho_dist.factory.payload import TrainingPayload
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.training import loggers
from ptycho_dist.training.fine_tuning import Tuned
from ptycho_dist.training.lightning_loop import quietly
from ptycho_dist.training.module import PtychoModule
from ptycho_dist.training.rewind import averaging_of, copies_of

logger = logging.getLogger(__name__)

METRIC = "held_out_fourier_error"
SEEN = "patterns_seen"
_PREFIX, _ERROR = "held_out_", "fourier_error"
_WORDS = {_ERROR: "Fourier error", "ssim_phase": "phase SSIM", "ssim_amplitude": "amplitude SSIM"}
_MOST_SCANS, _MOST_PATTERNS = 8, 512
_SHARE, _OF_STEP = 0.1, 1 / 3
"""Share of the work that predictions may take, and work of a prediction over that of a training step."""


@dataclass(frozen=True)
class Kept:
    """Weights that may become those of the bundle.

    Parameters
    ----------
    step, epoch
        Optimiser steps done, and epoch (from 1; 0 before the first step).
    error
        Fourier error on the held-out scans.
    weights
        Of the model.
    """

    step: int
    epoch: int
    error: float
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class Choice:
    """Weights that are kept, and those that the training ended with."""

    kept: Kept
    last: Kept

    def tell(self, start: Path | None) -> None:
        """Log which they are; ``start`` is the bundle that the training began with."""
        kept, last = self.kept, self.last
        if kept.step == 0:
            logger.warning(
                "fine-tuning made the Fourier error of held-out scans %.4f, from %.4f before: the weights of %s are "
                "kept. Lower learning_rate, or train longer.",
                last.error, kept.error, start,
            )  # fmt: skip
            return
        logger.info(
            "the bundle has the weights after step %d (epoch %d): Fourier error of held-out scans %.4f, %.4f at the "
            "end", kept.step, kept.epoch, kept.error, last.error,
        )  # fmt: skip


class Predictor:
    """Predicts the held-out scans on all ranks, each whole ones of its share.

    Parameters
    ----------
    payload, data
        Settings, and the scans.
    context
        Place of this rank.
    """

    def __init__(self, payload: TrainingPayload, data: ScanDataModule, context: RankContext) -> None:
        self._payload, self._data = payload, data
        self._numbers = data.held_out[spread(len(data.held_out), _MOST_SCANS)]
        self._own = self._numbers[local_slice(shard(len(self._numbers), context.rank, context.world))]

    @property
    def every(self) -> int:
        """Steps between two predictions that keep them near a tenth of the work, on one rank and on many."""
        given, config = self._payload.training_config.held_out_every, self._payload.data_config
        if given is not None:
            return given
        entries = [self._data.scans.entries[int(one)] for one in self._numbers]
        sizes = [min(one.n_patterns, _MOST_PATTERNS) for one in entries]
        on_one, on_many = sum(sizes) / self._payload.training_config.batch_size, max(sizes)
        return math.ceil(max(on_one, on_many) / config.patterns_in_group * _OF_STEP / _SHARE)

    def qualities(self, trainer: pl.Trainer, module: PtychoModule) -> list[ScanQuality]:
        """Return the quality of each scan; the same on all ranks."""

        def predict() -> list[ScanQuality]:
            return [self._quality(module, int(number)) for number in self._own]

        own = on_all_ranks(lambda: quietly(trainer, predict))
        return [one for of_rank in all_gather_object(own) for one in of_rank]

    def _quality(self, module: PtychoModule, number: int) -> ScanQuality:
        scan, config = self._data.scans.scan(number), self._payload.data_config
        rows = compact_rows(scan, _MOST_PATTERNS)
        part = move_data_to_device(self._data.dataset.part(number, [rows[:1]]), module.model.steps.device)
        factor = self._payload.photons / scan.header.mean_counts
        return judge_scan(module.model_of(part), scan, rows, config, factor)


class HeldOut(Callback):
    """Logs the Fourier error and the similarity of held-out scans, and keeps the best weights.

    It predicts after every so many steps and at the end; where the training starts from a bundle, before the first
    step as well, so that it cannot end worse than it began. With averaged weights these are judged.

    Parameters
    ----------
    predictor
        Predicts the scans.
    payload
        Settings.
    """

    def __init__(self, predictor: Predictor, payload: TrainingPayload) -> None:
        training = payload.training_config
        self._predictor, self._every, self._start = predictor, predictor.every, training.init_from
        self._judges = training.mode != "supervised"
        self._keeps_best = training.keep == "best" and self._judges
        self._looked, self._seen = 0, 0.0
        self._init: float | None = None
        self._best: Kept | None = None
        self._choice: Choice | None = None

    @classmethod
    def of(cls, payload: TrainingPayload, data: ScanDataModule, context: RankContext) -> HeldOut | None:
        """Build it for a training that holds scans back; None for others."""
        return cls(Predictor(payload, data, context), payload) if len(data.held_out) else None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Judge what the training starts from."""
        module = _module(pl_module)
        if self._start is not None and module.steps == 0 and self._init is None:
            first = self._look(trainer, module, 0)
            self._init = first.error
            if self._judges:
                self._offer(first)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Predict, if it is time; not after a step that was undone, and after the last one when it is all over."""
        module = _module(pl_module)
        self._seen += batch.n_patterns_global
        is_early = module.steps - self._looked < self._every
        if is_early or module.agreed.fault or trainer.should_stop or module.is_doubtful:
            return
        found = self._look(trainer, module, len(module.train_losses) + 1)
        if self._keeps_best:
            self._offer(found)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Predict with the weights that the training ended with, and choose those of the bundle."""
        module, best = _module(pl_module), self._best
        last = self._look(trainer, module, len(module.train_losses))
        self._choice = choice = Choice(last if best is None or last.error <= best.error else best, last)
        chosen = {"kept_step": choice.kept.step, f"kept_{METRIC}": choice.kept.error}
        loggers.record(trainer.loggers, _finite(chosen), module.steps - 1)
        choice.tell(self._start)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Do the same where an unfinished run had done all steps: Lightning then skips the end of the training."""
        if self._choice is None:
            self.on_train_end(trainer, pl_module)

    def settle(self, model: PtychoModel) -> dict[str, Any]:
        """Give a model the weights that are kept; returns what the bundle says of them."""
        assert self._choice is not None
        kept, last = self._choice.kept, self._choice.last
        model.load_state_dict(kept.weights)
        errors = {METRIC: kept.error, f"last_{METRIC}": last.error}
        facts = dict.fromkeys(errors) | _finite(errors) | {"kept_step": kept.step, "kept_epoch": kept.epoch}
        if self._init is None or not self._judges:
            return facts
        return facts | Tuned(self._init, last.error if kept.step == 0 else kept.error).facts()

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        best = None if self._best is None else vars(self._best)
        return {"looked": self._looked, "seen": self._seen, "init": self._init, "best": best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of a checkpoint."""
        self._looked, self._seen, self._init = state_dict["looked"], state_dict["seen"], state_dict["init"]
        self._best = None if state_dict["best"] is None else Kept(**state_dict["best"])

    def _look(self, trainer: pl.Trainer, module: PtychoModule, epoch: int) -> Kept:
        """Predict and log."""
        self._looked = module.steps
        averaging, was_training = averaging_of(trainer), module.training
        module.eval()
        with torch.random.fork_rng(), nullcontext() if averaging is None else averaging.in_force(module):
            found = mean_quality(self._predictor.qualities(trainer, module))
            kept = Kept(trainer.global_step, epoch, found[_ERROR], copies_of(module.model.state_dict()))
        module.train(was_training)
        self._log(trainer, module, kept, found)
        return kept

    def _log(self, trainer: pl.Trainer, module: PtychoModule, kept: Kept, found: Mapping[str, float]) -> None:
        known = _finite({_PREFIX + name: value for name, value in found.items()})
        about = {SEEN: self._seen, "epoch": trainer.current_epoch}
        loggers.record(trainer.loggers, known | about, max(0, module.steps - 1))
        told = ", ".join(f"{_WORDS[name]} {value:.4f}" for name, value in found.items())
        logger.info("held-out scans after step %d (epoch %d): %s", kept.step, kept.epoch, told)

    def _offer(self, found: Kept) -> None:
        if math.isfinite(found.error) and (self._best is None or found.error < self._best.error):
            self._best = found


def _finite(values: Mapping[str, float]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _module(module: pl.LightningModule) -> PtychoModule:
    assert isinstance(module, PtychoModule)
    return module
