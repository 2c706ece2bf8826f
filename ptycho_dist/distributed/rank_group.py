"""How ranks that write files together tell each other what they did: by MPI where it started them, else by gloo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from ptycho_dist.distributed.collectives import all_gather_object, on_all_ranks, process_group, require_no_failure
from ptycho_dist.distributed.mpi import library as mpi_library
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.progress.tracker import Progress

T = TypeVar("T")


class RankGroup(Protocol):
    """Place of this rank, and what it may do with the others."""

    @property
    def rank(self) -> int:
        """Number of this rank."""

    @property
    def world(self) -> int:
        """Number of ranks."""

    @property
    def progress(self) -> Progress:
        """Where this rank reports how far it is."""

    @property
    def comm(self) -> Any | None:
        """MPI communicator of these ranks, where MPI joins them."""

    def all_gather(self, value: T) -> list[T]:
        """Give every rank the (picklable) value of every rank, in rank order."""

    def on_all_ranks(self, work: Callable[[], T]) -> T:
        """Do local work on every rank; if it fails on one, raise on all (LaunchError on the others)."""


@dataclass(frozen=True)
class SingleRank:
    """One rank, whatever ranks there are beside it: it works without waiting for them."""

    rank: int = 0
    world: int = 1
    comm: Any | None = None
    progress: Progress = field(default_factory=Progress, compare=False, repr=False)

    def all_gather(self, value: T) -> list[T]:
        """Give the value back."""
        return [value]

    def on_all_ranks(self, work: Callable[[], T]) -> T:
        """Do the work."""
        return work()


@dataclass(frozen=True)
class TorchRankGroup:
    """Exchange by the open process group; alone without one.

    Parameters
    ----------
    rank, world
        Place of this rank.
    progress
        Where it reports how far it is.
    """

    rank: int = 0
    world: int = 1
    comm: Any | None = None
    progress: Progress = field(default_factory=Progress, compare=False, repr=False)

    def all_gather(self, value: T) -> list[T]:
        """Give every rank the value of every rank."""
        return all_gather_object(value)

    def on_all_ranks(self, work: Callable[[], T]) -> T:
        """Do local work on every rank; if it fails on one, raise on all."""
        return on_all_ranks(work)


@dataclass(frozen=True)
class MpiRankGroup:
    """Exchange by MPI.

    Parameters
    ----------
    comm
        Communicator of these ranks.
    progress
        Where this rank reports how far it is.
    """

    comm: Any
    progress: Progress = field(default_factory=Progress, compare=False, repr=False)

    @property
    def rank(self) -> int:
        """Number of this rank."""
        return int(self.comm.rank)

    @property
    def world(self) -> int:
        """Number of ranks."""
        return int(self.comm.size)

    def all_gather(self, value: T) -> list[T]:
        """Give every rank the value of every rank."""
        gathered: list[T] = self.comm.allgather(value)
        return gathered

    def on_all_ranks(self, work: Callable[[], T]) -> T:
        """Do local work on every rank; if it fails on one, raise on all."""
        try:
            value = work()
        except BaseException as error:
            self.all_gather(f"{type(error).__name__}: {error}")
            raise
        require_no_failure(self.all_gather(""))
        return value


@contextmanager
def open_rank_group(context: RankContext, timeout_s: float) -> Iterator[RankGroup]:
    """Join the ranks of a launch for the exchange of objects.

    Parameters
    ----------
    context
        Place of this process among the ranks.
    timeout_s
        Longest wait for the other ranks, in seconds (under mpirun, mpirun ends a wait for a lost rank).

    Raises
    ------
    LaunchError
        If the ranks do not find each other.
    """
    if context.launcher == "mpi" and context.world > 1 and mpi_library.available():
        yield MpiRankGroup(mpi_library.start(context), context.progress)
    else:
        with process_group(context, "gloo", timeout_s):
            yield TorchRankGroup(context.rank, context.world, progress=context.progress)
