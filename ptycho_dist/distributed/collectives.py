"""The only file that calls torch.distributed.

With one rank no process group is opened, and every collective returns what
this rank gave.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ptycho_dist.distributed.environment import RankContext
from ptycho_dist.errors import LaunchError

logger = logging.getLogger(__name__)
T = TypeVar("T")


@contextmanager
def process_group(context: RankContext, backend: str, timeout_s: float) -> Iterator[None]:
    """Open the process group of all ranks, and close it at the end.

    Parameters
    ----------
    context
        Place of this process among the ranks.
    backend
        ``gloo`` or ``nccl``.
    timeout_s
        Longest wait of a rank for the others, in seconds.

    Raises
    ------
    LaunchError
        If the ranks do not find each other in time.
    """
    if context.world == 1:
        yield
        return
    address = f"{context.main_address}:{context.main_port}"
    try:
        _open(context, backend, timeout_s)
    except dist.DistError as error:
        msg = (
            f"rank {context.rank} of {context.world} did not find the other ranks at {address} within {timeout_s} s "
            f"({error}); expected {context.world} ranks of one launch. Check that all were started, the port free."
        )
        raise LaunchError(msg) from error
    try:
        yield
    finally:
        dist.destroy_process_group()


def _open(context: RankContext, backend: str, timeout_s: float) -> None:
    os.environ.setdefault("MASTER_ADDR", context.main_address)
    os.environ.setdefault("MASTER_PORT", str(context.main_port))
    dist.init_process_group(
        backend,
        init_method="env://",
        rank=context.rank,
        world_size=context.world,
        timeout=timedelta(seconds=timeout_s),
    )
    logger.debug("process group of %d ranks is open (%s)", context.world, backend)


def is_open() -> bool:
    """Tell whether there is a process group (more than one rank)."""
    return dist.is_available() and dist.is_initialized()


def all_gather_object(value: T) -> list[T]:
    """Give every rank the (picklable) value of every rank, in rank order."""
    if not is_open():
        return [value]
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def all_reduce_sum(values: Tensor) -> Tensor:
    """Sum a tensor over all ranks; every rank gets the sum."""
    if is_open():
        values = values.clone()
        dist.all_reduce(values, op=dist.ReduceOp.SUM)
    return values


def from_rank_0(make: Callable[[], T]) -> T:
    """Call ``make`` on rank 0 only, and give its (picklable) value to every rank."""
    if not is_open():
        return make()
    box: list[Any] = [make() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(box, src=0)
    value: T = box[0]
    return value


def barrier() -> None:
    """Wait until every rank is here."""
    if is_open():
        all_reduce_sum(torch.zeros(1))
