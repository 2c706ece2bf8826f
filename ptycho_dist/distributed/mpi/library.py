"""The MPI library: whether it is there, its start and end, and what happens to all ranks when one fails.

The only file that imports mpi4py, and only when it is asked to: without
mpi4py, or with mpi4py but no MPI library, everything else works.
MPI starts ranks and moves objects; training uses torch.distributed.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from ptycho_dist.errors import LaunchError, OtherRankError
from ptycho_dist.launching.environment import RankContext, detect, launcher_name
from ptycho_dist.launching.exit_codes import exit_code, is_lost_rank

START_LIMIT_S = 300.0
"""Longest wait for the other ranks when MPI starts, where a command has no timeout_s."""
GRACE_S = 10.0
"""How long a rank that only lost another one leaves that one to name its error."""
_LEAD_S = 1.0
"""How long rank 0 has to name an error that all ranks share."""
_READ_S = 0.5
"""Pause before MPI aborts, for mpirun then drops what it has not read yet of the ranks' output."""


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


def start(context: RankContext, limit_s: float = START_LIMIT_S) -> Any:
    """Start MPI unless it runs; return the communicator of all ranks, which carries objects of any size.

    Parameters
    ----------
    context
        Place of this rank.
    limit_s
        Longest wait for the other ranks, in seconds.

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
        _wait_for_every_rank_to_start_mpi(MPI, limit_s)
    from mpi4py.util import pkl5

    comm = pkl5.Intracomm(MPI.COMM_WORLD)
    if (comm.rank, comm.size) != (context.rank, context.world):
        msg = (
            f"mpirun started rank {context.rank} of {context.world} ({context.why}), but the MPI library of mpi4py "
            f"({library_version()}) says rank {comm.rank} of {comm.size}; expected one MPI for both. Use the mpirun of "
            "that library, or point MPI4PY_LIBMPI to the library of this mpirun."
        )
        raise LaunchError(msg)
    return comm


@contextmanager
def failure_propagation(limit_s: float = START_LIMIT_S, grace_s: float = GRACE_S) -> Iterator[None]:
    """Run a command; under mpirun with mpi4py, MPI ends all ranks with the exit code of the first that fails.

    The process must end by :func:`abort` or by an uncaught exception (see ``mpi4py.run``), after it has reported
    its error. So that each error is reported once, a rank that only lost another one waits ``grace_s`` seconds,
    in which that one ends it, and each rank but 0 waits a second for an error that all ranks share.
    """
    if launcher_name(os.environ) != "mpi" or not available():
        yield
        return
    from mpi4py.run import set_abort_status

    try:
        start(detect(os.environ), limit_s)
        yield
    except BaseException as error:
        set_abort_status(exit_code(error))
        atexit.register(time.sleep, _READ_S)
        _leave_the_report_to_others(detect(os.environ), error, grace_s)
        raise
    finish()


def finish() -> None:
    """End MPI; a call of all ranks."""
    MPI = load()
    if MPI is not None and MPI.Is_initialized() and not MPI.Is_finalized():
        MPI.Finalize()


def abort(code: int) -> None:
    """Have MPI end all ranks, where it runs."""
    MPI = load() if "mpi4py.MPI" in sys.modules else None
    if MPI is not None and MPI.Is_initialized() and not MPI.Is_finalized():
        time.sleep(_READ_S)
        MPI.COMM_WORLD.Abort(code)


def _leave_the_report_to_others(context: RankContext, error: BaseException, grace_s: float) -> None:
    is_echo = is_lost_rank(error) or isinstance(error, OtherRankError)
    if is_echo or context.rank > 0:
        time.sleep(grace_s if is_echo else _LEAD_S + _READ_S)
        sys.stderr.write(f"ptycho-dist: rank {context.rank} of {context.world} failed; MPI ends the others.\n")


def _wait_for_every_rank_to_start_mpi(MPI: Any, limit_s: float) -> None:
    """Start MPI; where a rank never comes, this process ends, and a traceback names this function.

    MPI has no time limit of its own and holds the interpreter meanwhile, so only faulthandler can end the wait.
    """
    faulthandler.dump_traceback_later(limit_s, exit=True, file=sys.__stderr__ or sys.stderr)
    try:
        MPI.Init_thread()
    finally:
        faulthandler.cancel_dump_traceback_later()
