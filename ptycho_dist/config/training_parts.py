"""Parts of the training config: what is minimised, how, and on which patterns and groups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ptycho_dist.config import validators
from ptycho_dist.errors import ConfigError

LIKELIHOODS = ("amplitude", "poisson")
MODES = ("unsupervised", "supervised", "mixed")
SCHEDULES = ("linear", "cosine", "exponential")
OPTIMIZERS = ("adam", "adamw", "sgd")
KEPT = ("best", "last")


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


@dataclass(frozen=True, kw_only=True)
class OptimisationConfig:
    """Optimiser, learning-rate schedule and averaging of weights; a part of the training config."""

    optimizer: str = "adamw"
    """adam, adamw or sgd."""

    weight_decay: float = 0.01
    """Weight decay of the network's matrices: decoupled with adamw, an L2 penalty with adam and sgd."""

    momentum: float = 0.9
    """Momentum of sgd; adam and adamw do not use it."""

    adam_beta1: float = 0.9
    """Decay of the running mean of gradients (adam, adamw)."""

    adam_beta2: float = 0.99
    """Decay of the running mean of squared gradients (adam, adamw)."""

    probe_learning_rate: float = 0.03
    """Learning rate of the probe, as a fraction of the largest probe magnitude."""

    background_learning_rate: float = 0.02
    """Learning rate of the background's square root, as a fraction of that of the mean counts of a pixel."""

    warmup_fraction: float = 0.05
    """Share of all steps over which WarmupCosine raises the rate from zero."""

    lr_min_ratio: float = 0.0
    """Rate at the end of WarmupCosine, as a fraction of the peak."""

    lr_gamma: float = 0.95
    """Factor on the rates after each epoch (Exponential)."""

    plateau_factor: float = 0.5
    """Factor on the rates when the monitored metric no longer gets better (ReduceLROnPlateau)."""

    plateau_patience: int = 2
    """Epochs without improvement that ReduceLROnPlateau waits."""

    plateau_threshold: float = 0.0
    """Relative change that counts as an improvement (ReduceLROnPlateau)."""

    plateau_min_lr: float = 5e-5
    """Rate below which ReduceLROnPlateau does not go."""

    ema_decay: float | None = None
    """If set, the result has exponentially averaged weights with this decay for each step, such as 0.999."""

    def __post_init__(self) -> None:
        validators.require_choice("training.optimizer", self.optimizer, OPTIMIZERS)
        for name in ("weight_decay", "plateau_threshold", "plateau_min_lr"):
            validators.require_positive(f"training.{name}", getattr(self, name), zero_allowed=True)
        for name in ("momentum", "adam_beta1", "adam_beta2", "warmup_fraction", "plateau_factor"):
            validators.require_fraction(f"training.{name}", getattr(self, name))
        for name in ("probe_learning_rate", "background_learning_rate"):
            validators.require_positive(f"training.{name}", getattr(self, name))
        validators.require_share("training.lr_min_ratio", self.lr_min_ratio, 1.0)
        validators.require_share("training.lr_gamma", self.lr_gamma, 1.0)
        validators.require_int("training.plateau_patience", self.plateau_patience, 0)
        if self.ema_decay is not None:
            validators.require_fraction("training.ema_decay", self.ema_decay)


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Which patterns are trained on, and which groups of them make an epoch; a part of the training config."""

    n_subsample: int | None = None
    """Patterns to train on, drawn from the scan before grouping; all where not set."""

    subsample_seed: int | None = None
    """Seed of that drawing; training.seed where not set."""

    n_groups: int | None = None
    """Groups in an epoch; as many as hold all patterns (with gridsize: one around each) where not set."""

    neighbor_count: int | None = None
    """Nearest neighbours that the rest of a group is drawn from (K choose C), with gridsize; the C - 1 nearest else."""

    sequential_sampling: bool = False
    """Take the first n_subsample patterns and n_groups groups in the order of the file, not random ones."""

    def __post_init__(self) -> None:
        for name in ("n_subsample", "n_groups", "neighbor_count"):
            validators.require_optional_int(f"training.{name}", getattr(self, name), 1)
        validators.require_optional_int("training.subsample_seed", self.subsample_seed, 0)
        validators.require_bool("training.sequential_sampling", self.sequential_sampling)

    def n_chosen(self, n_patterns: int) -> int:
        """Count the patterns that are trained on, of so many in the scan."""
        return n_patterns if self.n_subsample is None else min(n_patterns, self.n_subsample)


@dataclass(frozen=True, kw_only=True)
class HeldOutConfig:
    """What scans of a set that are held back (val_fraction) decide; a part of the training config."""

    keep: str = "best"
    """Weights that the bundle holds: best (on held-out scans of a set, not from labels alone) or last."""

    held_out_every: int | None = None
    """Steps between two predictions of held-out scans; as many as keep them near 10 % of the work where not set."""

    def __post_init__(self) -> None:
        validators.require_choice("training.keep", self.keep, KEPT)
        validators.require_optional_int("training.held_out_every", self.held_out_every, 1)
