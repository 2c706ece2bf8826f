"""The terms of the training loss and how they are weighed in each epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ptycho_dist.config.schema import TrainingConfig
from ptycho_dist.data.datamodule import ScanBatch
from ptycho_dist.errors import TrainingError
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.model.stage_object import StageObject
from ptycho_dist.physics.regularisers import amplitude_deviation, label_error, total_variation

DATA, LABEL, TV, AMPLITUDE = "data", "label", "tv", "amplitude"
_EARLIER = 0.3
"""Weight in the gradient of what a stage before the last leaves."""

Terms = Mapping[str, Tensor]
"""Each term summed over the patterns of this rank; together with its weight and the number of patterns it is a loss."""


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    Parameters
    ----------
    training
        Weights and schedule.
    photons
        Mean photons of a pattern; the patterns' misfit is counted per photon.
    """

    training: TrainingConfig
    photons: float

    @property
    def names(self) -> tuple[str, ...]:
        """Terms that are computed, always in the same order."""
        asked = {
            DATA: self.training.mode != "supervised",
            LABEL: self.training.uses_labels,
            TV: self.training.tv_weight > 0,
            AMPLITUDE: self.training.amplitude_weight > 0,
        }
        return tuple(name for name, wanted in asked.items() if wanted)

    def weights(self, epoch: int) -> dict[str, float]:
        """Weight of each term in an epoch (from 0)."""
        share = physics_share(self.training, epoch)
        every = {
            DATA: self.training.physics_weight * share,
            LABEL: self.training.label_weight * (1 - share),
            TV: self.training.tv_weight,
            AMPLITUDE: self.training.amplitude_weight,
        }
        return {name: every[name] for name in self.names}

    def final_weights(self) -> dict[str, float]:
        """Weights that validation uses in every epoch, so that its losses can be compared: those at the end."""
        return self.weights(self.training.epochs)

    def terms(self, model: PtychoModel, batch: ScanBatch) -> Terms:
        """Each term of this rank's patterns of one scan in a step, summed over them."""
        photons = batch.photons
        rows, columns = batch.canvas_px
        stages = list(model.stages(photons, batch.corners_px, (rows, columns), batch.photons_per_count))
        patches, weight = stages[-1].patches_Bnn, model.patch_weight()
        makers: dict[str, Callable[[], Tensor]] = {
            DATA: lambda: with_earlier([self._misfit(one) for one in stages]),
            LABEL: lambda: with_earlier([label_error(one.patches_Bnn, _labels(batch), weight).sum() for one in stages]),
            TV: lambda: total_variation(patches, weight).sum(),
            AMPLITUDE: lambda: amplitude_deviation(patches, weight).sum(),
        }
        return {name: makers[name]() for name in self.names}

    def _misfit(self, stage: StageObject) -> Tensor:
        return stage.misfits(self.training.likelihood).sum() / self.photons


def with_earlier(values: Sequence[Tensor]) -> Tensor:
    """Give the value of the last stage, and the gradient of the earlier ones, too.

    No gradient passes from one stage to the one before, so each needs a loss of its own (deep supervision: Lee et
    al., AISTATS (2015), arXiv:1409.5185).
    """
    return values[-1] + sum((_EARLIER * (one - one.detach()) for one in values[:-1]), torch.zeros_like(values[-1]))


def weigh(terms: Terms, weights: Mapping[str, float]) -> Tensor:
    """Add terms up by their weights."""
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()


def add_terms(parts: list[Terms]) -> Terms:
    """Add up the terms of several parts of a step."""
    return {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}


def physics_share(training: TrainingConfig, epoch: int) -> float:
    """Share of the patterns in the loss, 0 to 1; the labels have the rest.

    Labels alone in stage 1, then patterns take over; ``exponential`` rises to 95 % by half of stage 2.
    """
    if training.mode != "mixed":
        return 1.0 if training.mode == "unsupervised" else 0.0
    given = training.stage_2_epochs
    length = max(training.epochs - training.stage_1_epochs, 0) if given is None else given
    done = epoch - training.stage_1_epochs
    if done < 0:
        return 0.0
    progress = 1.0 if length == 0 else min(1.0, (done + 1) / (length + 1))
    return SHAPES[training.physics_weight_schedule](progress)


SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda progress: progress,
    "cosine": lambda progress: 0.5 * (1 - math.cos(math.pi * progress)),
    "exponential": lambda progress: -math.expm1(-6 * progress) / -math.expm1(-6),
}
"""How far the patterns have taken over at each share of stage 2."""


def _labels(batch: ScanBatch) -> Tensor:
    if batch.labels is None:
        msg = "the batch holds no labels; expected those of training.mode = supervised or mixed. Build it with them."
        raise TrainingError(msg)
    return batch.labels
