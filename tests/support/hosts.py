"""Names in /etc/hosts for the time of a test."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_HOSTS = Path("/etc/hosts")
_OURS = re.compile(r"127\.0\.0\.1 ptd(\d+)-n\d+\n")
"""Lines for the nodes of a SLURM that a test process (by its id) has started."""


@contextmanager
def loopback_names(names: Sequence[str]) -> Iterator[None]:
    """Let names resolve to 127.0.0.1, and take them out again; needs root."""
    lines = [f"127.0.0.1 {name}\n" for name in names]
    _edit(lambda found: [*(line for line in found if not _is_left_over(line)), *lines])
    try:
        yield
    finally:
        _edit(lambda found: [line for line in found if line not in lines])


def _is_left_over(line: str) -> bool:
    """Tell whether a test process wrote this line and was killed before it could take it out."""
    found = _OURS.fullmatch(line)
    return found is not None and not Path("/proc", found[1]).exists()


def _edit(change: Callable[[list[str]], list[str]]) -> None:
    """Change the lines in place (the file may be a mount, which cannot be renamed), one process at a time."""
    with _HOSTS.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lines = [line if line.endswith("\n") else f"{line}\n" for line in file]
        file.seek(0)
        file.writelines(change(lines))
        file.truncate()
