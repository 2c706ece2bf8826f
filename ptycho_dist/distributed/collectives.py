"""What ranks do with each other; but for the stores of :mod:`rendezvous` and :mod:`watch` all of torch.distributed.

With one rank no process group is opened, and every collective returns what
this rank gave.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import Store  # type: ignore[attr-defined]  # torch names it in another way

from ptycho_dist.distributed.background import BackgroundCall
from ptycho_dist.distributed.devices import gpu_of
from ptycho_dist.distributed.mpi.address import bootstrap
from ptycho_dist.distributed.rendezvous import meet, meet_through_agent, require_own_gpu
from ptycho_dist.distributed.watch import watched
from ptycho_dist.errors import LaunchError, OtherRankError
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.launching.network_interfaces import use_named_interface

logger = logging.getLogger(__name__)
T = TypeVar("T")
_CPU = torch.device("cpu")
BEAT_S = 1.0
"""Seconds between signs of life of ranks that wait for each other's work."""
MARGIN_S = 5.0
"""Seconds after a time limit in which torch may still say by itself what it waited for."""

WATCH_LEAD_S = 15.0
"""Seconds that NCCL waits longer than the ranks watch each other, so that they can name the lost one first."""
_NCCL = {"TORCH_NCCL_ASYNC_ERROR_HANDLING": "3", "TORCH_NCCL_DUMP_ON_TIMEOUT": "0"}
"""After its time limit NCCL ends the process (SIGABRT), at once; the environment has the last word."""


@contextmanager
def process_group(context: RankContext, backend: str, timeout_s: float, device: torch.device = _CPU) -> Iterator[None]:
    """Open the process group of all ranks, and close it at the end.

    Parameters
    ----------
    context
        Place of this process among the ranks.
    backend
        As :func:`~ptycho_dist.distributed.devices.process_group_backend` names it.
    timeout_s
        Longest wait of a rank for the others, in seconds.
    device
        Of this rank; a GPU becomes the one that this process uses by default.

    Raises
    ------
    LaunchError
        If the ranks do not find each other in time, or two use one GPU.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if context.world == 1:
        yield
        return
    try:
        store = _open(context, backend, timedelta(seconds=timeout_s), device)
    except dist.DistError as error:
        msg = (
            f"rank {context.rank} of {context.world} did not find the other ranks within {timeout_s} s ({error}); "
            f"expected {context.world} ranks of one launch. Check that all were started."
        )
        raise LaunchError(msg) from error
    with watched(context, store, timeout_s) if is_watched(backend) and store is not None else nullcontext():
        try:
            yield
        finally:
            _close(backend)


def is_watched(backend: str) -> bool:
    """Tell whether ranks must watch each other, for the backend does not tell that one is gone."""
    return "nccl" in backend


def _close(backend: str) -> None:
    """Close the group; NCCL may wait there for a rank that is gone."""
    if not is_watched(backend):
        dist.destroy_process_group()
        return
    closing = BackgroundCall(dist.destroy_process_group)
    closing.wait(MARGIN_S)
    if not closing.done:
        logger.debug("NCCL did not end within %.0f s; this process ends without it", MARGIN_S)


def _open(context: RankContext, backend: str, timeout: timedelta, device: torch.device) -> Store | None:
    """Open the group; torchrun's agents keep the store of their ranks, the ranks of others make their own.

    Returns
    -------
    Store or None
        The store of this launch, where we hold it.
    """
    use_named_interface(os.environ)
    where: dict[str, Any] = {}
    if context.launcher == "torchrun" and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == str(True):
        where["store"] = meet_through_agent(context, timeout.total_seconds())
    elif context.launcher == "torchrun":
        where["init_method"] = "env://"
    else:
        context = bootstrap(context)
        os.environ.setdefault("MASTER_ADDR", context.main_address)
        os.environ.setdefault("MASTER_PORT", str(context.main_port))
        where["store"] = meet(context, timeout.total_seconds())
    place: dict[str, Any] = {"rank": context.rank, "world_size": context.world, "timeout": timeout}
    if is_watched(backend):
        place["timeout"] = timeout + timedelta(seconds=WATCH_LEAD_S)
        for name, value in _NCCL.items():
            os.environ.setdefault(name, value)
    if device.type == "cuda":
        place["device_id"] = device
        if "store" in where:
            require_own_gpu(context, where["store"], gpu_of(device), timeout)
    _connect(partial(dist.init_process_group, backend, **where, **place), timeout)
    logger.debug("process group of %d ranks is open (%s)", context.world, backend)
    return where.get("store")


def _connect(connect: Callable[[], None], timeout: timedelta) -> None:
    """Connect to the other ranks; the time limit is enforced here, for gloo's own does not cover every wait.

    Raises
    ------
    LaunchError
        If the time is up.
    """
    limit_s = timeout.total_seconds() + MARGIN_S
    attempt = BackgroundCall(connect)
    attempt.wait(limit_s)
    if not attempt.done:
        msg = (
            f"the connections between the ranks were not made within {limit_s:.0f} s; expected every rank to answer. "
            "Check the network between the hosts (ptycho-dist doctor), and start again."
        )
        raise LaunchError(msg)
    attempt.result()


def is_open() -> bool:
    """Tell whether there is a process group (more than one rank)."""
    return dist.is_available() and dist.is_initialized()


def place() -> tuple[int, int]:
    """Rank of this process and number of ranks."""
    return (dist.get_rank(), dist.get_world_size()) if is_open() else (0, 1)


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


def swap(outgoing: Mapping[int, Tensor], incoming: Mapping[int, Tensor]) -> None:
    """Send tensors to some ranks and fill others from some, all at once; both sides know size and type.

    Parameters
    ----------
    outgoing, incoming
        Contiguous tensors by rank.
    """
    sends = [dist.P2POp(dist.isend, values, rank) for rank, values in outgoing.items()]
    receipts = [dist.P2POp(dist.irecv, values, rank) for rank, values in incoming.items()]
    if sends or receipts:
        for work in dist.batch_isend_irecv([*sends, *receipts]):
            work.wait()


@dataclass
class Sum:
    """Numbers of this rank, and their sums over all ranks, on their way; read once they are needed.

    Parameters
    ----------
    values
        Shape (2, n): those of this rank, and of all.
    work
        The message, where it goes through a group; None without.
    arrived
        When a GPU has copied them to the host.
    """

    values: Tensor
    work: dist.Work | None = None
    arrived: torch.cuda.Event | None = None

    def read(self) -> list[list[float]]:
        """Wait for them, and give both as numbers."""
        if self.work is not None:
            self.work.wait()
        if self.arrived is not None:
            self.arrived.synchronize()
        found: list[list[float]] = self.values.tolist()
        return found


def start_sum(own: Tensor) -> Sum:
    """Begin to sum numbers (n,) over all ranks, where they are; nothing is waited for.

    Sums of other messages may be begun before these are read, in the same order on every rank.
    """
    values = own.repeat(2, 1)
    on_gpu = own.device.type == "cuda"
    work = dist.all_reduce(values[1], op=dist.ReduceOp.SUM, async_op=not on_gpu) if is_open() else None
    if not on_gpu:
        return Sum(values, work)
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    host.copy_(values, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()
    return Sum(host, None, arrived)


def all_gather(values: Tensor) -> list[Tensor]:
    """Give every rank the tensor of every rank, of one shape, in rank order."""
    if not is_open():
        return [values]
    gathered = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, values)
    return gathered


def on_all_ranks(work: Callable[[], T], beat_s: float = BEAT_S) -> T:
    """Do local work (without collectives) on every rank; if it fails on one, raise on all.

    The ranks exchange a sign of life every ``beat_s`` seconds, so a slow rank,
    or a long stitch on rank 0, is not taken for a dead one.

    Raises
    ------
    OtherRankError
        On the ranks whose own work did not fail, naming the rank that failed and its error.
    """
    if not is_open():
        return work()
    own = BackgroundCall(work)
    everyone_done = False
    while not everyone_done:
        own.wait(beat_s)
        done, failed = all_reduce_sum(torch.tensor([own.done, own.failed], dtype=torch.int64)).tolist()
        everyone_done = failed > 0 or done == dist.get_world_size()
    failures = all_gather_object(own.failure()) if failed else []
    value = own.result()
    require_no_failure(failures)
    return value


def require_no_failure(failures: Sequence[str]) -> None:
    """Stop with another rank.

    Parameters
    ----------
    failures
        What each rank failed with, in rank order; empty where it did not.

    Raises
    ------
    OtherRankError
        Naming the first rank that failed.
    """
    for rank, failure in enumerate(failures):
        if failure:
            msg = f"rank {rank} failed: {failure}"
            raise OtherRankError(msg)


def from_rank_0(make: Callable[[], T]) -> T:
    """Call ``make`` on rank 0 only, and give its (picklable) value to every rank.

    Raises
    ------
    OtherRankError
        On the other ranks, if ``make`` fails on rank 0 (which raises the error itself).
    """
    if not is_open():
        return make()
    made = on_all_ranks(make if dist.get_rank() == 0 else _nothing)
    box: list[Any] = [made]
    dist.broadcast_object_list(box, src=0)
    value: T = box[0]
    return value


def _nothing() -> Any:
    return None


def barrier() -> None:
    """Wait until every rank is here."""
    if is_open():
        all_reduce_sum(torch.zeros(1))
