"""Settings of what is minimised: physics, labels, priors, and how they are weighed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ptycho_dist.config import validators
from ptycho_dist.errors import ConfigError

LIKELIHOODS = ("amplitude", "poisson")
MODES = ("unsupervised", "supervised", "mixed")
SCHEDULES = ("linear", "cosine", "exponential")


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Terms of the training loss; a part of the training config."""

    mode: str = "unsupervised"
    """What the network learns from: unsupervised (patterns), supervised (a stored object), or mixed."""

    label_file: Path | None = None
    """Object to learn from: a product, or an NPZ with a complex object; that of the scan file where not set."""

    likelihood: str = "amplitude"
    """Negative log-likelihood of the patterns: amplitude (Gaussian on square roots) or poisson."""

    physics_weight: float = 1.0
    """Weight of the patterns' misfit per photon."""

    label_weight: float = 1.0
    """Weight of the relative squared error against the labels."""

    stage_1_epochs: int = 0
    """Epochs of mixed training on labels alone."""

    stage_2_epochs: int | None = None
    """Epochs of mixed training over which labels give way to patterns; all that are left where not set."""

    physics_weight_schedule: str = "cosine"
    """How labels give way to patterns: linear, cosine or exponential."""

    tv_weight: float = 0.0
    """Weight of the total variation of predicted patches."""

    amplitude_weight: float = 0.0
    """Weight of the squared distance of predicted amplitudes from 1."""

    def __post_init__(self) -> None:
        validators.require_choice("training.mode", self.mode, MODES)
        validators.require_choice("training.likelihood", self.likelihood, LIKELIHOODS)
        for name in ("physics_weight", "label_weight"):
            validators.require_positive(f"training.{name}", getattr(self, name))
        for name in ("tv_weight", "amplitude_weight"):
            validators.require_positive(f"training.{name}", getattr(self, name), zero_allowed=True)
        validators.require_int("training.stage_1_epochs", self.stage_1_epochs, 0)
        validators.require_optional_int("training.stage_2_epochs", self.stage_2_epochs, 0)
        validators.require_choice("training.physics_weight_schedule", self.physics_weight_schedule, SCHEDULES)
        if self.label_file is not None and self.mode == "unsupervised":
            msg = (
                f"training.label_file = {self.label_file} with training.mode = 'unsupervised'; expected a mode that "
                "learns from it. Set training.mode = mixed or supervised, or remove training.label_file."
            )
            raise ConfigError(msg)

    @property
    def uses_labels(self) -> bool:
        """Whether labels are needed."""
        return self.mode != "unsupervised"
