"""Start the ranks of this host, watch them, and end all when one fails."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ptycho_dist.distributed.environment import LAUNCHER_VARIABLE

logger = logging.getLogger(__name__)

_POLL_S = 0.1
_KILL_AFTER_S = 5.0
_TAIL_LINES = 200


@dataclass
class _Rank:
    """One started rank, and the last lines that it wrote to standard error."""

    rank: int
    process: subprocess.Popen[str]
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL_LINES))


def run_ranks(argv: Sequence[str], n_ranks: int, grace_s: float = 10.0) -> int:
    """Run ``python -m ptycho_dist ARGV`` as ``n_ranks`` ranks on this host.

    Rank 0 keeps this terminal; what the others write to standard error is kept
    and shown if they fail in another way than rank 0.

    Parameters
    ----------
    argv
        Arguments of the command line, the same for every rank.
    n_ranks
        Number of ranks to start.
    grace_s
        Seconds that the other ranks get to end by themselves after one failed.

    Returns
    -------
    int
        0 when all ranks succeeded, else the exit code of the first that failed
        (128 + signal number for a killed one).
    """
    port = _free_port()
    ranks = [_start(argv, rank, n_ranks, port) for rank in range(n_ranks)]
    previous = {number: signal.signal(number, _stop_all(ranks)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        failed = _wait(ranks)
        if failed is None:
            return 0
        _end_others(ranks, grace_s)
        _explain(ranks, failed)
        return _exit_code(failed)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _end_others(ranks, 0.0)


def _start(argv: Sequence[str], rank: int, n_ranks: int, port: int) -> _Rank:
    env = os.environ | {
        LAUNCHER_VARIABLE: "spawn",
        "RANK": str(rank),
        "WORLD_SIZE": str(n_ranks),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(n_ranks),
        "NODE_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    env.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // n_ranks)))
    process = subprocess.Popen(
        [sys.executable, "-m", "ptycho_dist", *argv],
        env=env,
        text=True,
        stderr=None if rank == 0 else subprocess.PIPE,
    )
    started = _Rank(rank, process)
    if process.stderr is not None:
        threading.Thread(target=started.tail.extend, args=(process.stderr,), daemon=True).start()
    return started


def _wait(ranks: Sequence[_Rank]) -> _Rank | None:
    """Wait for all ranks to end well, or for the first that fails."""
    while True:
        codes = [one.process.poll() for one in ranks]
        for one, code in zip(ranks, codes, strict=True):
            if code not in (None, 0):
                return one
        if all(code == 0 for code in codes):
            return None
        time.sleep(_POLL_S)


def _end_others(ranks: Sequence[_Rank], grace_s: float) -> None:
    """Give the ranks ``grace_s`` seconds, then terminate, then kill them."""
    for wait_s, end in ((grace_s, None), (_KILL_AFTER_S, signal.SIGTERM), (_KILL_AFTER_S, signal.SIGKILL)):
        running = [one for one in ranks if one.process.poll() is None]
        if not running:
            return
        for one in running:
            if end is not None:
                one.process.send_signal(end)
        _sleep_until_ended(running, wait_s)


def _sleep_until_ended(ranks: Sequence[_Rank], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and any(one.process.poll() is None for one in ranks):
        time.sleep(_POLL_S)


def _explain(ranks: Sequence[_Rank], failed: _Rank) -> None:
    """Name the rank that failed; show what it said, unless rank 0 failed alike."""
    code = failed.process.returncode
    rank_0 = ranks[0].process.returncode
    if code < 0:
        name = signal.Signals(-code).name
        logger.error(
            "rank %d (pid %d) was killed by %s; the other ranks were ended. If the system ran out of memory, "
            "use fewer ranks or a smaller batch_size.", failed.rank, failed.process.pid, name
        )  # fmt: skip
    elif failed.rank != 0 and code != rank_0:
        logger.error("rank %d failed with exit code %d and said:\n%s", failed.rank, code, "".join(failed.tail).rstrip())


def _exit_code(failed: _Rank) -> int:
    code = failed.process.returncode
    return 128 - code if code < 0 else code


def _stop_all(ranks: Sequence[_Rank]):  # type: ignore[no-untyped-def]  # a signal handler
    def stop(number: int, _frame: object) -> None:
        for one in ranks:
            if one.process.poll() is None:
                one.process.send_signal(number)

    return stop


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
