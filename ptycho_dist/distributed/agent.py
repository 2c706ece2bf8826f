"""A torchrun agent that does not notice the end of its ranks is ended from outside.

With the cable to the host of the rendezvous cut, an agent waits for minutes after its ranks have
failed. A failing rank without a restart leaves a watcher, which gives the agent some time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

GRACE_S = 20.0
_POLL_S = 0.25


def end_agent_later(env: Mapping[str, str], grace_s: float = GRACE_S) -> None:
    """Have the torchrun agent of this rank ended in ``grace_s`` seconds, if it is still there then.

    Does nothing where another launcher started this rank, or where the agent may still restart it.
    """
    if "TORCHELASTIC_RUN_ID" not in env:
        return
    restarts = int(env.get("TORCHELASTIC_RESTART_COUNT", "0"))
    if restarts < int(env.get("TORCHELASTIC_MAX_RESTARTS", "0")):
        return
    agent = os.getppid()
    command = [sys.executable, "-m", __name__, str(agent), _started(agent), str(grace_s)]
    subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def end_later(pid: int, started: str, grace_s: float) -> None:
    """Wait until a process is gone, and kill it when the time is up.

    Parameters
    ----------
    pid, started
        The process, and when it started (:func:`_started`), for numbers are used again.
    grace_s
        Seconds that it gets.
    """
    deadline = time.monotonic() + grace_s
    while _started(pid) == started:
        if time.monotonic() > deadline:
            sys.stderr.write(
                f"ptycho-dist: torchrun (pid {pid}) did not end within {grace_s:.0f} s after its rank had failed; "
                "it is ended from outside. Is the network to the other host down?\n"
            )
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(_POLL_S)


def _started(pid: int) -> str:
    """Start time of a process in clock ticks (field 22 of /proc/PID/stat); empty once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


if __name__ == "__main__":
    end_later(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
