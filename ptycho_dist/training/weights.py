"""What loggers see of the weights of a network: norms of its parts, and on TensorBoard histograms."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn

_DEPTH = 2
"""Names of modules that a part is told by, from the outside."""


def weight_norms(model: nn.Module) -> dict[str, float]:
    """Euclidean norm of the parameters of each part of a model, by ``norm_PART``; waits for the device once."""
    parts = {name: torch.stack([one.detach().float().norm() for one in some]).norm() for name, some in _parts(model)}
    values = torch.stack(list(parts.values())).tolist() if parts else []
    return {f"norm_{name}": value for name, value in zip(parts, values, strict=True)}


def add_histograms(board: TensorBoardLogger, model: nn.Module, step: int) -> None:
    """Show how the weights of each part are distributed."""
    for name, some in _parts(model):
        values = torch.cat([(torch.view_as_real(one) if one.is_complex() else one).detach().flatten() for one in some])
        board.experiment.add_histogram(f"weights/{name}", values.float().cpu(), step)


def _parts(model: nn.Module) -> Iterator[tuple[str, list[Tensor]]]:
    """Parameters in the order of the model, by part."""
    named = ((".".join(name.split(".")[:_DEPTH]), one) for name, one in model.named_parameters())
    for name, some in groupby(named, key=lambda item: item[0]):
        yield name, [one for _, one in some]
