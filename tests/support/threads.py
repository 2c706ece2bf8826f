"""Ranks that are threads of this process, for tests of what ranks write together."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any, TypeVar

from ptycho_dist.errors import OtherRankError
from ptycho_dist.progress.tracker import Progress

T = TypeVar("T")
LIMIT_S = 20.0


@dataclass
class _Board:
    """Where the threads lay down what they exchange."""

    barrier: Barrier
    values: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class ThreadExchange:
    """One rank's end of the exchange."""

    rank: int
    world: int
    board: _Board
    comm: Any | None = None
    progress: Progress = field(default_factory=Progress)

    def all_gather(self, value: T) -> list[T]:
        self.board.values[self.rank] = value
        self.board.barrier.wait(LIMIT_S)
        gathered = list(self.board.values)
        self.board.barrier.wait(LIMIT_S)
        return gathered

    def on_all_ranks(self, work: Callable[[], T]) -> T:
        try:
            value = work()
        except BaseException as error:
            self.all_gather(str(error))
            raise
        for rank, failure in enumerate(self.all_gather("")):
            if failure:
                msg = f"rank {rank} failed: {failure}"
                raise OtherRankError(msg)
        return value


def on_ranks(world: int, work: Callable[[ThreadExchange], T]) -> list[T | BaseException]:
    """Run the same on every rank; what a rank returned or raised, in rank order."""
    board = _Board(Barrier(world), [None] * world)
    with ThreadPoolExecutor(world) as pool:
        futures = [pool.submit(work, ThreadExchange(rank, world, board)) for rank in range(world)]
        return [future.exception() or future.result() for future in futures]
