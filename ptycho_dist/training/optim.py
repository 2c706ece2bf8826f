"""Optimiser and learning-rate schedule from the payload."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.schema import TrainingConfig
from ptycho_dist.model.ptycho_model import PtychoModel

_BETAS = (0.9, 0.99)


def build_optimizer(model: PtychoModel, training: TrainingConfig, execution: PyTorchExecutionConfig) -> Optimizer:
    """Build AdamW or SGD, with weight decay on matrices only and a rate of its own for the probe.

    The fused AdamW would unscale gradients itself, which 16-mixed with clipping does not allow.
    """
    learning_rate = execution.learning_rate
    groups = _parameter_groups(model, training, learning_rate)
    if training.optimizer == "sgd":
        return SGD(groups, lr=learning_rate)
    return AdamW(groups, lr=learning_rate, betas=_BETAS, fused=execution.precision != "16-mixed")


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
    if model.optics.log_scale.requires_grad:
        groups.append({"name": "intensity_scale", "params": [model.optics.log_scale], "weight_decay": 0.0})
    background = model.optics.background_root
    if background is not None and background.requires_grad:
        groups.append({"name": "background", "params": [background], "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def build_scheduler(
    optimizer: Optimizer, training: TrainingConfig, execution: PyTorchExecutionConfig, total_steps: int
) -> LambdaLR:
    """Schedule that is stepped after each optimiser step."""
    if execution.scheduler == "Default":
        return LambdaLR(optimizer, _constant)
    return LambdaLR(optimizer, warmup_cosine(total_steps, training.warmup_fraction))


def warmup_cosine(total_steps: int, warmup_fraction: float) -> Callable[[int], float]:
    """Linear rise from zero, then half a cosine down to zero (Loshchilov and Hutter, arXiv:1608.03983, Eq. 5)."""
    warmup = max(1, round(warmup_fraction * total_steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = (step - warmup) / max(1, total_steps - warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    return factor


def _constant(_step: int) -> float:
    return 1.0


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Present rate of each named parameter group."""
    return {f"lr_{group['name']}": float(group["lr"]) for group in optimizer.param_groups}
