"""What the ranks give each other in an update."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ptycho_dist.distributed.collectives import all_reduce_sum, is_open


def join_sums(sums: Sequence[Tensor]) -> list[Tensor]:
    """Sum tensors over all ranks, in one message; every rank gets the same bits."""
    if not is_open():
        return list(sums)
    parts = [as_real(one).reshape(-1) for one in sums]
    whole = all_reduce_sum(torch.cat(parts))
    joined = torch.split(whole, [part.numel() for part in parts])
    return [_like(part, one) for part, one in zip(joined, sums, strict=True)]


def join_rows(own: Tensor, part: slice, total: int) -> Tensor:
    """Put the rows of all ranks into one tensor; to be summed over the ranks, it holds zeros for the others'."""
    if not is_open():
        return own
    rows = own.new_zeros(total, *own.shape[1:])
    rows[part] = own
    return rows


def as_real(values: Tensor) -> Tensor:
    """Show a complex tensor as real numbers, with a last axis of 2; a real one as it is."""
    return torch.view_as_real(values) if values.is_complex() else values


def _like(flat: Tensor, model: Tensor) -> Tensor:
    if model.is_complex():
        return torch.view_as_complex(flat.reshape(*model.shape, 2))
    return flat.reshape(model.shape)
