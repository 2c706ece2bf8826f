"""The MPI library: whether it is there, its start, and messages of any length.

The only file that imports mpi4py, and only when it is asked to: without
mpi4py, or with mpi4py but no MPI library, everything else works.
MPI starts ranks and moves objects; training uses torch.distributed.
"""

from __future__ import annotations

import atexit
import faulthandler
import pickle
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from ptycho_dist.errors import LaunchError
from ptycho_dist.launching.environment import RankContext

T = TypeVar("T")

START_LIMIT_S = 60.0
"""Longest wait for the other ranks when MPI starts."""
PIECE_BYTES = 1 << 30
"""Most bytes of one message; MPI-3 counts in 32 bits, so larger ones go in pieces."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2e-5, 0.005


@cache
def load() -> Any | None:
    """Load ``mpi4py.MPI`` without starting MPI; None without mpi4py or without an MPI library."""
    try:
        import mpi4py

        mpi4py.rc.initialize = False
        from mpi4py import MPI
    except (ImportError, RuntimeError, OSError):
        return None
    return MPI


def available() -> bool:
    """Tell whether mpi4py and an MPI library are there; never raises."""
    return load() is not None


def library_version() -> str:
    """First line of what the MPI library says of itself; empty where there is none."""
    MPI = load()
    return "" if MPI is None else " ".join(MPI.Get_library_version().splitlines()[0].split())


@dataclass(frozen=True)
class MpiExchange:
    """Objects between the ranks of mpirun.

    Parameters
    ----------
    comm
        Communicator of all ranks.
    watch
        Called while this rank waits; may raise, for instance when another rank has failed.
    piece_bytes
        Most bytes of one message.
    """

    comm: Any
    watch: Callable[[], None]
    piece_bytes: int = PIECE_BYTES

    def all_gather(self, value: T) -> list[T]:
        """Give every rank the (picklable) value of every rank, in rank order."""
        return [pickle.loads(data) for data in self.all_gather_bytes(pickle.dumps(value))]

    def all_gather_bytes(self, data: bytes | bytearray | memoryview) -> list[bytearray]:
        """Give every rank the bytes of every rank, in rank order; any length, 2^31 bytes and more included."""
        sizes = array("q", [0]) * self.comm.size
        self._finish(self.comm.Iallgather(array("q", [len(data)]), sizes), _LONGEST_PAUSE_S)
        received = [bytearray(size) for size in sizes]
        piece = max(1, self.piece_bytes // self.comm.size)
        for start in range(0, max(sizes), piece):
            counts = [min(max(size - start, 0), piece) for size in sizes]
            part = bytearray(sum(counts))
            own = memoryview(data)[start : start + piece]
            self._finish(self.comm.Iallgatherv([own, _byte()], [part, (counts, None), _byte()]), 0.0)
            _spread(part, counts, received, start)
        return received

    def _finish(self, request: Any, longest_pause_s: float) -> None:
        """Wait for a request; MPI moves data only when it is asked, so pauses are for waits without data."""
        pause_s = 0.0
        while not request.Test():
            self.watch()
            time.sleep(pause_s)
            pause_s = min(2 * pause_s + _FIRST_PAUSE_S, longest_pause_s)


def _byte() -> Any:
    MPI = load()
    return None if MPI is None else MPI.BYTE


def _spread(part: bytearray, counts: Sequence[int], received: Sequence[bytearray], start: int) -> None:
    """Put the pieces of all ranks, which lie one after another, where they belong."""
    view, where = memoryview(part), 0
    for count, whole in zip(counts, received, strict=True):
        whole[start : start + count] = view[where : where + count]
        where += count


def start(context: RankContext) -> Any:
    """Start MPI unless it runs, and return the communicator of all ranks.

    Raises
    ------
    LaunchError
        If the MPI library counts other ranks than mpirun.
    """
    MPI = load()
    if MPI is None:
        msg = "mpi4py or its MPI library is missing; expected both. Install ptycho-dist[mpi] and an MPI."
        raise LaunchError(msg)
    if not MPI.Is_initialized():
        _wait_for_every_rank_to_start_mpi(MPI)
        atexit.register(finish)
    comm = MPI.COMM_WORLD
    if (comm.rank, comm.size) != (context.rank, context.world):
        msg = (
            f"mpirun started rank {context.rank} of {context.world} ({context.why}), but the MPI library of mpi4py "
            f"({library_version()}) says rank {comm.rank} of {comm.size}; expected one MPI for both. Use the mpirun of "
            "that library, or point MPI4PY_LIBMPI to the library of this mpirun."
        )
        raise LaunchError(msg)
    return comm


def finish() -> None:
    """End MPI; a call of all ranks, which must have said all that they had to say."""
    MPI = load()
    if MPI is not None and MPI.Is_initialized() and not MPI.Is_finalized():
        MPI.Finalize()


def _wait_for_every_rank_to_start_mpi(MPI: Any) -> None:
    """Start MPI; where a rank never comes, this process ends, and a traceback names this function.

    MPI has no time limit of its own and holds the interpreter meanwhile, so only faulthandler can end the wait.
    """
    faulthandler.dump_traceback_later(START_LIMIT_S, exit=True, file=sys.__stderr__ or sys.stderr)
    try:
        MPI.Init_thread()
    finally:
        faulthandler.cancel_dump_traceback_later()
