"""A training that starts from a bundle's network never ends worse than it began."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ptycho_dist.data.scan import Scan
from ptycho_dist.data.scan_set import Source
from ptycho_dist.distributed.collectives import from_rank_0, on_all_ranks
from ptycho_dist.evaluate.group_error import group_error, spread_groups
from ptycho_dist.factory.payload import TrainingPayload
from ptycho_dist.model.ptycho_model import PtychoModel

logger = logging.getLogger(__name__)

_MOST_PATTERNS = 512


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

    def facts(self) -> dict[str, float | str | None]:
        """Return what a bundle says of it."""
        after = self.after if math.isfinite(self.after) else None
        return {"init_fourier_error": self.before, "fourier_error": after, "kept": "init" if self.is_worse else "tuned"}


@dataclass(frozen=True)
class Judge:
    """Judges a model by the scan that it is fine-tuned on; rank 0 does, for all ranks.

    Parameters
    ----------
    payload, scan
        Settings and the open scan.
    before
        Fourier error that the training began with.
    """

    payload: TrainingPayload
    scan: Scan
    before: float

    @classmethod
    def of(cls, payload: TrainingPayload, source: Source, model: PtychoModel) -> Judge | None:
        """Judge the start of a fine-tuning on one scan; None for other trainings, and where labels alone are learnt."""
        training = payload.training_config
        if training.init_from is None or training.mode == "supervised" or not isinstance(source, Scan):
            return None
        return cls(payload, source, error_for_all(payload, source, model))

    def settle(self, model: PtychoModel, begin: Callable[[], PtychoModel]) -> tuple[PtychoModel, Tuned]:
        """Return the trained model, or the one that the training began with if the training made it worse."""
        tuned = Tuned(self.before, error_for_all(self.payload, self.scan, model))
        if not tuned.is_worse:
            logger.info("fine-tuning took the Fourier error of the network from %.4f to %.4f", self.before, tuned.after)
            return model, tuned
        logger.warning(
            "fine-tuning made the Fourier error of the network %.4f, from %.4f before: the weights of %s and the "
            "supplied probe are kept. Lower learning_rate or probe_learning_rate, or train longer.",
            tuned.after, self.before, self.payload.training_config.init_from,
        )  # fmt: skip
        return on_all_ranks(begin), tuned


def error_for_all(payload: TrainingPayload, scan: Scan, model: PtychoModel) -> float:
    """Give all ranks the :func:`sample_error` that rank 0 finds."""
    return from_rank_0(lambda: sample_error(payload, scan, model))


def sample_error(payload: TrainingPayload, scan: Scan, model: PtychoModel) -> float:
    """Fourier error of what a model predicts for groups spread over a scan, at most about 512 patterns.

    The same groups whenever it is called for a scan.
    """
    groups = spread_groups(scan, np.arange(len(scan)), payload.data_config, _MOST_PATTERNS)
    return group_error(model, scan, groups, payload.count_factor)
