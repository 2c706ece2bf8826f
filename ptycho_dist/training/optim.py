"""Optimiser and learning-rate schedule from the payload."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.schema import TrainingConfig
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.training.pace import Pace

PLATEAU = "ReduceLROnPlateau"
"""Scheduler that looks at a metric after each epoch; the others are functions of the step."""


def build_optimizer(model: PtychoModel, training: TrainingConfig, execution: PyTorchExecutionConfig) -> Optimizer:
    """Build the optimiser, with weight decay on matrices only and a rate of its own for the probe.

    The fused versions could unscale gradients themselves. With 16-mixed, and with any mixed precision that clips,
    that is not allowed.
    """
    learning_rate = execution.learning_rate
    groups = _parameter_groups(model, training, learning_rate)
    if training.optimizer == "sgd":
        return SGD(groups, lr=learning_rate, momentum=training.momentum)
    make = AdamW if training.optimizer == "adamw" else Adam
    betas = (training.adam_beta1, training.adam_beta2)
    return make(groups, lr=learning_rate, betas=betas, fused=_may_be_fused(execution))


def _may_be_fused(execution: PyTorchExecutionConfig) -> bool:
    """Tell whether gradients reach the optimiser as they are."""
    if execution.precision == "bf16-mixed":
        return execution.gradient_clip_val is None
    return execution.precision != "16-mixed"


def _parameter_groups(model: PtychoModel, training: TrainingConfig, learning_rate: float) -> list[dict[str, Any]]:
    optics = {id(parameter) for parameter in model.optics.parameters()}
    network = [parameter for parameter in model.parameters() if id(parameter) not in optics and parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"name": "matrices", "params": [p for p in network if p.ndim > 1], "weight_decay": training.weight_decay},
        {"name": "vectors", "params": [p for p in network if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if model.optics.probe_parts.requires_grad:
        largest = float(model.optics.probe.detach().abs().max())
        rate = training.probe_learning_rate * largest
        groups.append({"name": "probe", "params": [model.optics.probe_parts], "lr": rate, "weight_decay": 0.0})
    scales = [one for one in (model.optics.log_scale, model.optics.scan_log_scales) if one is not None]
    trained = [one for one in scales if one.requires_grad]
    groups.append({"name": "intensity_scale", "params": trained, "weight_decay": 0.0})
    background = model.optics.background_root
    if background is not None and background.requires_grad:
        rate = training.background_learning_rate
        groups.append({"name": "background", "params": [background], "lr": rate, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def build_scheduler(
    optimizer: Optimizer,
    training: TrainingConfig,
    execution: PyTorchExecutionConfig,
    pace: Pace,
    steps_in_epoch: int,
) -> LambdaLR:
    """Schedule that is stepped after each optimiser step: a function of step and pace, so it resumes exactly."""
    total_steps = pace.total
    if execution.scheduler == "WarmupStableDecay":
        warmup = max(1, round(training.warmup_fraction * total_steps))
        return LambdaLR(optimizer, lambda step: pace.factor(step, warmup, training.lr_min_ratio))
    if execution.scheduler == "WarmupCosine":
        return LambdaLR(optimizer, warmup_cosine(total_steps, training.warmup_fraction, training.lr_min_ratio))
    if execution.scheduler == "Exponential":
        return LambdaLR(optimizer, exponential(max(1, steps_in_epoch), training.lr_gamma))
    return LambdaLR(optimizer, _constant)


def build_plateau(
    optimizer: Optimizer, training: TrainingConfig, execution: PyTorchExecutionConfig, state: Mapping[str, Any] | None
) -> ReduceLROnPlateau:
    """Schedule that lowers the rates after epochs without improvement of the monitored metric.

    Parameters
    ----------
    state
        That of the resumed training, as :func:`plateau_state` gave it.
    """
    plateau = ReduceLROnPlateau(
        optimizer,
        mode=execution.checkpoint_mode,  # type: ignore[arg-type]  # checked by the execution config
        factor=training.plateau_factor,
        patience=training.plateau_patience,
        threshold=training.plateau_threshold,
        min_lr=training.plateau_min_lr,
    )
    if state is not None:
        plateau.load_state_dict(dict(state))
    return plateau


def plateau_state(plateau: ReduceLROnPlateau) -> dict[str, Any]:
    """State of the schedule as plain values."""
    names = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")
    return {name: getattr(plateau, name) for name in names}


def warmup_cosine(total_steps: int, warmup_fraction: float, least: float = 0.0) -> Callable[[int], float]:
    """Linear rise from zero, then half a cosine down to ``least`` (arXiv:1608.03983, Eq. 5)."""
    warmup = max(1, round(warmup_fraction * total_steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = (step - warmup) / max(1, total_steps - warmup)
        return least + (1 - least) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    return factor


def exponential(steps_in_epoch: int, gamma: float) -> Callable[[int], float]:
    """Lower the rate by ``gamma`` after each epoch."""
    return lambda step: float(gamma ** (step // steps_in_epoch))


def _constant(_step: int) -> float:
    return 1.0


def learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """Present rate of each parameter group, named as Lightning's LearningRateMonitor names it."""
    return {f"lr-{type(optimizer).__name__}/{group['name']}": float(group["lr"]) for group in optimizer.param_groups}
