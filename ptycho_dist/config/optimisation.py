"""Settings of the optimiser step: which optimiser, how its rates change, and averaged weights."""

from __future__ import annotations

from dataclasses import dataclass

from ptycho_dist.config import validators

OPTIMIZERS = ("adam", "adamw", "sgd")


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
