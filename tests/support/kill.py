"""Wait for a place in a run, and kill what runs there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

Process = subprocess.Popen[str]


def wait_until(condition: Callable[[], object], what: str, process: Process | None = None, limit_s: float = 60) -> None:
    """Wait for a condition; fail when the process ends first or the time is up."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert process is None or process.poll() is None, f"ended before {what}: {process.communicate()[1]}"
        assert time.monotonic() < deadline, f"{what} did not come in {limit_s} s"
        time.sleep(0.002)


def children(pid: int) -> list[int]:
    """Child processes of a process."""
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def has_ended(pid: int) -> bool:
    """Tell whether a process has ended, also where its parent has not noticed yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def rank_of(pid: int) -> int | None:
    """Rank of a process, read from its environment; None if it has none or is gone."""
    try:
        found = re.search(rb"(?:^|\0)RANK=(\d+)", Path(f"/proc/{pid}/environ").read_bytes())
    except OSError:
        return None
    return int(found[1]) if found else None


def pid_of_rank(parent: int, rank: int) -> int:
    """Process of a rank that a supervisor or torchrun has started."""
    return next(pid for pid in children(parent) if rank_of(pid) == rank)


def kill_rank(parent: Process, rank: int, number: signal.Signals = signal.SIGKILL) -> int:
    """Send a signal to one rank; returns its pid."""
    pid = pid_of_rank(parent.pid, rank)
    os.kill(pid, number)
    return pid


def checkpoint_of(output_dir: Path, step: int) -> Path:
    """Name the file that announces the checkpoint after so many steps."""
    return output_dir / "checkpoints" / f"step-{step:010d}.ckpt.sha256"
