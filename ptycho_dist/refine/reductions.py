"""Joins what the ranks found in an update."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ptycho_dist.distributed.collectives import all_reduce_sum, is_open
from ptycho_dist.refine.exit_wave import Batch
from ptycho_dist.refine.methods import PerPattern, Update

Join = Callable[[Sequence[Tensor]], list[Tensor]]
"""Sums tensors over the ranks that take part."""


def keep_own(sums: Sequence[Tensor]) -> list[Tensor]:
    """Give back what one rank has found that works alone."""
    return list(sums)


def join_sums(sums: Sequence[Tensor]) -> list[Tensor]:
    """Sum tensors over all ranks, in one message; every rank gets the same bits."""
    if not is_open():
        return list(sums)
    parts = [as_real(one).reshape(-1) for one in sums]
    whole = all_reduce_sum(torch.cat(parts))
    joined = torch.split(whole, [part.numel() for part in parts])
    return [_like(part, one) for part, one in zip(joined, sums, strict=True)]


def run_update(update: Update, batch: Batch, join: Join) -> None:
    """Run a method's update, joining over the ranks what it yields."""
    found = next(update, None)
    while found is not None:
        joined = join([_rows_of_all(one.values, batch) if isinstance(one, PerPattern) else one for one in found])
        try:
            found = update.send(joined)
        except StopIteration:
            return


def _rows_of_all(own: Tensor, batch: Batch) -> Tensor:
    """Put this rank's rows among zeros for those of the others, so that the sum over ranks has all of them."""
    if len(own) == len(batch.everyone):
        return own
    rows = own.new_zeros(len(batch.everyone), *own.shape[1:])
    rows[batch.part] = own
    return rows


def as_real(values: Tensor) -> Tensor:
    """Show a complex tensor as real numbers, with a last axis of 2; a real one as it is."""
    return torch.view_as_real(values) if values.is_complex() else values


def _like(flat: Tensor, model: Tensor) -> Tensor:
    if model.is_complex():
        return torch.view_as_complex(flat.reshape(*model.shape, 2))
    return flat.reshape(model.shape)
