"""Start the ranks of this host, watch them, end all when one fails; a rank does not outlive its supervisor."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

from ptycho_dist.launching.environment import LAUNCH_ID_VARIABLE, LAUNCHER_VARIABLE
from ptycho_dist.launching.exit_codes import USER_ERROR
from ptycho_dist.launching.network_interfaces import free_port
from ptycho_dist.launching.signals import EXIT_RESUMABLE, STOP_SIGNALS
from ptycho_dist.launching.terminal import TERMINAL_VARIABLE, has_terminal

logger = logging.getLogger(__name__)

PARENT_VARIABLE = "PTYCHO_DIST_SUPERVISOR_PID"
ORPHANED = 143
"""Exit code of a rank whose supervisor is gone (as after SIGTERM)."""
_HERE = "127.0.0.1"
_PARENT_POLL_S = 1.0
_POLL_S = 0.1
KILL_AFTER_S = 5.0
_TAIL_LINES = 200
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_SAVE_S = 60.0
"""Seconds that ranks get to save their state after a signal that asks for it."""
_RESUME = "Start the same command again: it resumes where it was."
_ADVICE = {
    signal.SIGKILL: f"If the system ran out of memory, use fewer ranks or a smaller batch_size. {_RESUME}",
    signal.SIGABRT: "If NCCL says above that a collective timed out, another rank did not answer within --timeout_s.",
    signal.SIGBUS: "A file that it reads in place was cut short, or its storage is gone; check the scan file.",
}
"""What to do about a signal that no rank is meant to die of."""


@dataclass
class _Rank:
    """One started rank, and the last lines that it wrote to standard error."""

    rank: int
    process: subprocess.Popen[str]
    listen: Callable[[str], None] | None = None
    """Takes each line that it writes to standard error."""
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL_LINES))
    reader: threading.Thread | None = None
    stopped: bool = False
    """Whether it was told to end, by us or by the user."""

    @property
    def code(self) -> int | None:
        """Exit code; None while it runs."""
        return self.process.poll()

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.code is None:
            self.stopped = True
            self.process.send_signal(number)

    def read(self, stream: IO[str]) -> None:
        """Keep the end of a stream, and pass each of its lines on."""
        for line in stream:
            self.tail.append(line)
            if self.listen is not None:
                self.listen(line)

    def last_words(self) -> str:
        """End of what it wrote to standard error."""
        if self.reader is not None:
            self.reader.join(KILL_AFTER_S)
        return "".join(self.tail).rstrip()


@dataclass(frozen=True)
class LaunchOutcome:
    """How the ranks of a launch have ended.

    Parameters
    ----------
    code
        0 when all ranks succeeded, 75 where a signal stopped them and they can be resumed, else the exit code of
        the one to blame (128 + signal number for a killed one, or where a signal ended the run).
    reasons
        A sentence for each rank to blame that rank 0 has not told already.
    said
        End of what the rank to blame wrote to standard error, where that was kept.
    """

    code: int
    reasons: tuple[str, ...] = ()
    said: str = ""


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
        Exit code, as of :class:`LaunchOutcome`.
    """
    outcome = supervise(argv, n_ranks, grace_s)
    for reason in outcome.reasons:
        logger.error("%s", reason)
    return outcome.code


def supervise(
    argv: Sequence[str], n_ranks: int, grace_s: float = 10.0, listen: Callable[[str], None] | None = None
) -> LaunchOutcome:
    """Run ranks as :func:`run_ranks` does, and say how they ended.

    Parameters
    ----------
    argv, n_ranks, grace_s
        As there.
    listen
        Takes each line that rank 0 writes to standard error, in another thread. With it no rank has this
        terminal; without it rank 0 has.
    """
    port, received = free_port(_HERE), list[int]()
    ranks = [_start(argv, (rank, n_ranks), port, listen) for rank in range(n_ranks)]
    with _handled(_stop_all(ranks, received)):
        try:
            if _wait(ranks, received):
                return LaunchOutcome(0)
            saves = bool(received) and received[0] in STOP_SIGNALS
            _end_others(ranks, _SAVE_S if saves else grace_s)
            return _stopped(ranks, received[0]) if received else _failed(ranks)
        finally:
            _end_others(ranks, 0.0)
            _close(ranks)


def _stopped(ranks: Sequence[_Rank], number: int) -> LaunchOutcome:
    logger.warning("stopped by %s; all ranks have ended", signal.Signals(number).name)
    return LaunchOutcome(EXIT_RESUMABLE if any(one.code == EXIT_RESUMABLE for one in ranks) else 128 + number)


def _failed(ranks: Sequence[_Rank]) -> LaunchOutcome:
    blamed = next(iter(_to_blame(ranks)), ranks[0])
    return LaunchOutcome(_exit_code(ranks), tuple(_reasons(ranks)), blamed.last_words())


@contextmanager
def _handled(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Handle the signals that stop; in the main thread, for Python admits handlers nowhere else."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def _start(argv: Sequence[str], place: tuple[int, int], port: int, listen: Callable[[str], None] | None) -> _Rank:
    rank, n_ranks = place
    env = os.environ | {
        LAUNCHER_VARIABLE: "spawn",
        PARENT_VARIABLE: str(os.getpid()),
        "RANK": str(rank),
        "WORLD_SIZE": str(n_ranks),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(n_ranks),
        "NODE_RANK": "0",
        "MASTER_ADDR": _HERE,
        "MASTER_PORT": str(port),
        LAUNCH_ID_VARIABLE: f"spawn {os.getpid()} {port}",
        TERMINAL_VARIABLE: str(int(listen is None and has_terminal(os.environ))),
    }
    env.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // n_ranks)))
    process = subprocess.Popen(
        [sys.executable, "-m", "ptycho_dist", *argv],
        env=env,
        text=True,
        stdout=None if listen is None else subprocess.DEVNULL,
        stderr=None if rank == 0 and listen is None else subprocess.PIPE,
    )
    started = _Rank(rank, process, listen if rank == 0 else None)
    if process.stderr is not None:
        started.reader = threading.Thread(target=started.read, args=(process.stderr,), daemon=True)
        started.reader.start()
    return started


def _close(ranks: Sequence[_Rank]) -> None:
    """Read what is left of the ended ranks' output, and close it."""
    for one in ranks:
        one.last_words()
        if one.process.stderr is not None and one.reader is not None and not one.reader.is_alive():
            one.process.stderr.close()


def _wait(ranks: Sequence[_Rank], received: Sequence[int]) -> bool:
    """Wait for all ranks to end well (True), or for the first that fails or a signal to us (False)."""
    while True:
        codes = [one.code for one in ranks]
        if received or any(code not in (None, 0) for code in codes):
            return False
        if all(code == 0 for code in codes):
            return True
        time.sleep(_POLL_S)


def _end_others(ranks: Sequence[_Rank], grace_s: float) -> None:
    """Give the ranks ``grace_s`` seconds, then terminate, then kill them."""
    for wait_s, end in ((grace_s, None), (KILL_AFTER_S, signal.SIGTERM), (KILL_AFTER_S, signal.SIGKILL)):
        running = [one for one in ranks if one.code is None]
        if not running:
            return
        for one in running:
            if end is not None:
                one.signal(end)
        _sleep_until_ended(running, wait_s)


def _sleep_until_ended(ranks: Sequence[_Rank], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and any(one.code is None for one in ranks):
        time.sleep(_POLL_S)


def _reasons(ranks: Sequence[_Rank]) -> Iterator[str]:
    """Name the ranks that are to blame, with what they said, unless rank 0 said it already."""
    for one in _to_blame(ranks):
        code = one.process.returncode
        if code < 0:
            killer = signal.Signals(-code)
            who = f"rank {one.rank} (pid {one.process.pid})"
            yield f"{who} was killed by {killer.name}; the other ranks were ended. {_ADVICE.get(killer, _RESUME)}"
        elif one.rank != 0 and not code == ranks[0].code == USER_ERROR:
            yield f"rank {one.rank} failed with exit code {code} and said:\n{one.last_words()}"


def _to_blame(ranks: Sequence[_Rank]) -> list[_Rank]:
    """Ranks that failed by themselves and for a reason of their own, as far as exit codes tell.

    When one rank is gone, the others fail too, for they lose their connection to it, and
    often before we look. So a killed rank comes before a user error, and that before a crash. NCCL aborts a
    rank that has lost another one; so does it only where no rank was killed in another way.
    """
    fallen = [one for one in ranks if one.code != 0 and not one.stopped]
    killed = [one for one in fallen if one.process.returncode < 0]
    killed = [one for one in killed if one.process.returncode != -signal.SIGABRT] or killed
    refused = [one for one in fallen if one.code == USER_ERROR]
    return killed or refused or fallen


def _exit_code(ranks: Sequence[_Rank]) -> int:
    code = next(one.process.returncode for one in (*_to_blame(ranks), *ranks) if one.code != 0)
    return 128 - code if code < 0 else code


def _stop_all(ranks: Sequence[_Rank], received: list[int]) -> Callable[[int, object], None]:
    """Make a signal handler that notes the signal and passes it on."""

    def stop(number: int, _frame: object) -> None:
        received.append(number)
        for one in ranks:
            one.signal(number)

    return stop


def end_with_parent(env: Mapping[str, str], poll_s: float = _PARENT_POLL_S) -> None:
    """End this process within ``poll_s`` seconds once its supervisor is gone, even killed.

    Without a supervisor this does nothing. Outputs appear whole or not at all, so the end may be sudden.
    """
    if PARENT_VARIABLE in env:
        threading.Thread(target=_watch_parent, args=(int(env[PARENT_VARIABLE]), poll_s), daemon=True).start()


def _watch_parent(parent: int, poll_s: float) -> None:
    while os.getppid() == parent:
        time.sleep(poll_s)
    os._exit(ORPHANED)
