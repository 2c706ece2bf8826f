"""A training that starts from a bundle's network never ends worse than it began."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ptycho_dist.data.datamodule import ScanBatch, ScanDataModule
from ptycho_dist.distributed.collectives import from_rank_0, on_all_ranks
from ptycho_dist.evaluate.group_error import fourier_error, spread, spread_groups, squared_residual, summed
from ptycho_dist.factory.payload import TrainingPayload
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.training.module import PtychoModule
from ptycho_dist.types import IntArray

logger = logging.getLogger(__name__)

_MOST_SCANS, _MOST_PATTERNS = 8, 512


@dataclass(frozen=True)
class Tuned:
    """What a fine-tuning made of the Fourier error on its scan.

    Parameters
    ----------
    before, after
        Fourier error of what the network predicts for a sample of groups, each on its own canvas: with the weights
        and the probe that the training began with, and with those it ended with.
    """

    before: float
    after: float

    @property
    def is_worse(self) -> bool:
        """Whether the training is to be undone."""
        return not self.after <= self.before

    @property
    def kept_error(self) -> float:
        """Fourier error of the weights that are kept."""
        return self.before if self.is_worse else self.after

    def facts(self) -> dict[str, float | str | None]:
        """Return what a bundle says of it."""
        before, after = (one if math.isfinite(one) else None for one in (self.before, self.after))
        return {"init_fourier_error": before, "fourier_error": after, "kept": "init" if self.is_worse else "tuned"}


@dataclass(frozen=True)
class Judge:
    """Judges a model by what it is fine-tuned on, a scan or a set of scans; rank 0 does, for all ranks.

    Parameters
    ----------
    error_of
        Fourier error of what a module predicts; asked for on all ranks.
    start
        Bundle that the training starts from.
    before
        Fourier error that the training began with.
    """

    error_of: Callable[[PtychoModule], float]
    start: Path
    before: float

    @classmethod
    def of(cls, payload: TrainingPayload, data: ScanDataModule, module: PtychoModule) -> Judge | None:
        """Judge the start of a fine-tuning; None for other trainings, and where labels alone are learnt."""
        training = payload.training_config
        if training.init_from is None or training.mode == "supervised":
            return None
        error_of = partial(error_for_all, payload, data)
        return cls(error_of, training.init_from, error_of(module))

    def settle(self, module: PtychoModule, begin: Callable[[], PtychoModule]) -> tuple[PtychoModule, Tuned]:
        """Return the trained module, or the one that the training began with if the training made it worse."""
        tuned = Tuned(self.before, self.error_of(module))
        if not tuned.is_worse:
            logger.info("fine-tuning took the Fourier error of the network from %.4f to %.4f", self.before, tuned.after)
            return module, tuned
        logger.warning(
            "fine-tuning made the Fourier error of the network %.4f, from %.4f before: the weights of %s and any "
            "supplied probe are kept. Lower learning_rate or probe_learning_rate, or train longer.",
            tuned.after, self.before, self.start,
        )  # fmt: skip
        return on_all_ranks(begin), tuned


def error_for_all(payload: TrainingPayload, data: ScanDataModule, module: PtychoModule) -> float:
    """Give all ranks the :func:`sample_error` that rank 0 finds."""
    return from_rank_0(lambda: sample_error(payload, data, module.model_of))


def sample_error(payload: TrainingPayload, data: ScanDataModule, model_of: Callable[[ScanBatch], PtychoModel]) -> float:
    """Fourier error of what a network predicts for groups spread over a scan, or over some scans of a set.

    The same groups whenever it is called, of at most about 512 patterns.

    Parameters
    ----------
    payload, data
        Settings, and what is trained on.
    model_of
        Gives the network the optics of some patterns.
    """
    scans = np.zeros(1, np.int64) if data.scans.is_single else data.split.train
    numbers = scans[spread(len(scans), _MOST_SCANS)]
    sums = torch.zeros(2, dtype=torch.float64)
    for number in numbers.tolist():
        scan = data.scans.scan(number)
        groups = spread_groups(scan, np.arange(len(scan)), payload.data_config, _MOST_PATTERNS // len(numbers))
        sums += summed(partial(_residual, data, model_of, number), groups)
    return fourier_error(sums)


def _residual(
    data: ScanDataModule, model_of: Callable[[ScanBatch], PtychoModel], number: int, groups: Sequence[IntArray]
) -> Tensor:
    part = data.dataset.part(number, groups)
    return squared_residual(model_of(part), part)
