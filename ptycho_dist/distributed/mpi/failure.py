"""Ranks of mpirun share one fate: a failure is heard by all, shown by rank 0, and ends all with one exit code."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ptycho_dist.distributed.mpi import library as mpi_library
from ptycho_dist.errors import OtherRankError
from ptycho_dist.launching.environment import detect, launcher_name
from ptycho_dist.launching.exit_codes import CRASH, exit_code, is_lost_rank

logger = logging.getLogger(__name__)

GRACE_S = 10.0
"""How long a failed rank waits for the others before it ends them."""
_TAG = 7
_POLL_S = 0.01


@dataclass(frozen=True)
class Outcome:
    """How a rank ended badly.

    Parameters
    ----------
    rank
        Which rank.
    code
        Its exit code.
    text
        Kind and message of its error; empty where a code says all.
    is_echo
        Whether it only failed because another rank did.
    """

    rank: int
    code: int
    text: str
    is_echo: bool = False


@dataclass
class Fate:
    """What this rank has heard of the others.

    Parameters
    ----------
    comm, work_comm
        A communicator for these messages only, and one for the work of the ranks.
    heard
        Failures so far, this rank's own included.
    """

    comm: Any
    work_comm: Any
    heard: list[Outcome] = field(default_factory=list)
    _sends: list[Any] = field(default_factory=list)

    def tell(self, outcome: Outcome) -> None:
        """Tell all other ranks that this one has failed."""
        self.heard.append(outcome)
        others = (rank for rank in range(self.comm.size) if rank != self.comm.rank)
        self._sends += [self.comm.isend(outcome, dest=rank, tag=_TAG) for rank in others]

    def listen(self) -> None:
        """Take in what other ranks have told."""
        while self.comm.iprobe(tag=_TAG):
            self.heard.append(self.comm.recv(tag=_TAG))

    def watch(self) -> None:
        """Listen, and stop waiting when another rank has failed.

        Raises
        ------
        OtherRankError
            Naming that rank and its error.
        """
        self.listen()
        others = [one for one in self.heard if one.rank != self.comm.rank]
        if others:
            msg = f"rank {others[0].rank} failed: {others[0].text}"
            raise OtherRankError(msg)

    def settle(self, grace_s: float) -> bool:
        """Wait until every rank is here; False if one has failed and not all come within ``grace_s`` seconds."""
        here = self.comm.Ibarrier()
        deadline: float | None = None
        while not here.Test():
            self.listen()
            if self.heard and deadline is None:
                deadline = time.monotonic() + grace_s
            if deadline is not None and time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        self.listen()
        return True

    def cause(self) -> Outcome | None:
        """Failure to blame: of the lowest rank that failed for a reason of its own."""
        return min(self.heard, key=lambda one: (one.is_echo, one.rank), default=None)


@cache
def own_fate() -> Fate:
    """Fate of this rank of mpirun; the first call is one of all ranks."""
    comm = mpi_library.start(detect(os.environ))
    return Fate(comm.Dup(), comm.Dup())


def exchange() -> mpi_library.MpiExchange:
    """Exchange of objects between the ranks of mpirun; the failure of another rank ends each wait."""
    fate = own_fate()
    return mpi_library.MpiExchange(fate.work_comm, fate.watch)


def share_fate(
    work: Callable[[], int], say: Callable[[BaseException], None] | None = None, grace_s: float = GRACE_S
) -> int:
    """Run a command; under mpirun with mpi4py, all ranks end with one exit code when one of them fails.

    Rank 0 shows the failure of another rank. Where a rank does not come within
    ``grace_s`` seconds after a failure, MPI ends it.

    Parameters
    ----------
    work
        What this rank does; returns its exit code or raises.
    say
        Tells the user of an error, where this rank is the one to do so; without it the error is raised. No rank
        ends before that is done: mpirun kills the others as soon as one ends badly.
    grace_s
        Longest wait for the other ranks after a failure, in seconds.

    Returns
    -------
    int
        Exit code of ``work``, the same on all ranks.
    """
    if launcher_name(os.environ) != "mpi" or not mpi_library.available():
        return work()
    fate = own_fate()
    try:
        code = work()
    except BaseException as error:
        own = _outcome(fate.comm.rank, error)
        if own.code:
            fate.tell(own)
        _settle(fate, grace_s)
        speaks = _speaks(fate, own)
        if speaks and say is not None:
            say(error)
        _end(fate, grace_s)
        if not own.code or (speaks and say is None):
            raise
    else:
        if code:
            fate.tell(Outcome(fate.comm.rank, code, ""))
        _settle(fate, grace_s)
        _end(fate, grace_s)
    cause = fate.cause()
    return 0 if cause is None else cause.code


def _settle(fate: Fate, grace_s: float) -> None:
    """Wait for all ranks, and let rank 0 show what went wrong elsewhere; MPI ends ranks that do not come."""
    everyone = fate.settle(grace_s)
    cause = fate.cause()
    own = [one.text for one in fate.heard if one.rank == fate.comm.rank]
    if cause is not None and fate.comm.rank == 0 and cause.rank != 0 and cause.text not in own:
        logger.error("rank %d failed: %s", cause.rank, cause.text or f"exit code {cause.code}")
    if not everyone and cause is not None:
        sys.stderr.write(
            f"ptycho-dist: {' '.join(cause.text.split())}\nptycho-dist: other ranks do not end: aborting.\n"
        )
        sys.stderr.flush()
        fate.comm.Abort(cause.code)


def _end(fate: Fate, grace_s: float) -> None:
    """End MPI, after a failure once every rank has said what it had to say."""
    if fate.cause() is not None:
        logging.shutdown()
        fate.settle(grace_s)
    mpi_library.finish()


def _speaks(fate: Fate, own: Outcome) -> bool:
    """Tell whether this rank raises its own error: for itself on rank 0, or a crash, whose traceback counts."""
    cause = fate.cause()
    is_cause = cause is not None and own.code == cause.code and not own.is_echo
    return is_cause and (own.rank == 0 or own.code == CRASH)


def _outcome(rank: int, error: BaseException) -> Outcome:
    is_echo = is_lost_rank(error) or isinstance(error, OtherRankError)
    return Outcome(rank, exit_code(error), f"{type(error).__name__}: {error}", is_echo=is_echo)
