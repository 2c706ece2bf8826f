"""Errors in one line: how a command line tells them, and how a caller reads them from its ranks."""

from __future__ import annotations

import os
import re
import signal
from typing import Any

from ptycho_dist import errors
from ptycho_dist.errors import LaunchError, PtychoDistError
from ptycho_dist.launching.exit_codes import INTERRUPTED, is_lost_rank, is_silent_rank, is_storage_error
from ptycho_dist.launching.open_files import is_out_of_files, limit
from ptycho_dist.launching.signals import EXIT_RESUMABLE, StopRequested
from ptycho_dist.launching.supervisor import LaunchOutcome

PROGRAM = "ptycho-dist"
"""How each reported error begins."""


def tell(error: BaseException) -> str | None:
    """Say an error in one line; None for a fault of the program, whose traceback counts."""
    if isinstance(error, PtychoDistError):
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; earlier results are as they were. The same command resumes it."
    if isinstance(error, StopRequested):
        return f"stopped by {error}; what is finished is saved. Start the same command again to resume."
    if is_out_of_files(error):
        return _about_open_files(error)
    if is_lost_rank(error):
        return _about_rank(error)
    return _about_storage(error) if isinstance(error, OSError) and is_storage_error(error) else None


def _about_rank(error: BaseException) -> str:
    if is_silent_rank(error):
        return (
            f"timed out waiting for another rank ({' '.join(str(error).split())}); expected an answer within "
            "execution.timeout_s. Look whether its process, its host and the network are alive; then start the same "
            "command again: it resumes."
        )
    return "lost the connection to another rank; its own message tells why."


def _about_open_files(error: BaseException) -> str:
    name = error.filename if isinstance(error, OSError) else None
    return (
        f"too many open files{f' at {name}' if name else ''} (this process may hold {limit()}); no file is damaged. "
        "Raise the hard limit (ulimit -Hn, or the batch system's), or start fewer ranks or num_workers."
    )


def _about_storage(error: OSError) -> str:
    named = re.search(r"filename = '([^']+)'", str(error))  # HDF5 has it in the text of its message only
    name = error.filename or (named[1] if named else "")
    where = f" at {name}" if name else ""
    return (
        f"storage error{where}: {os.strerror(error.errno or 0)}; expected a place that can be read and written. Free "
        "space, or choose another path."
    )


def raise_failure(ending: LaunchOutcome) -> None:
    """Raise in the calling process what ended its ranks.

    Raises
    ------
    PtychoDistError
        What the rank to blame has said, with its type; a LaunchError where it was killed or has crashed.
    KeyboardInterrupt
        After Ctrl-C, or where a notebook interrupted the cell.
    StopRequested
        If a signal stopped the ranks; the same call resumes it.
    """
    if ending.code == 0:
        return
    if ending.code == INTERRUPTED:
        raise KeyboardInterrupt
    if ending.code == EXIT_RESUMABLE:
        raise StopRequested(signal.SIGTERM)
    raise _told_error(ending.said) or LaunchError("\n".join(ending.reasons) or _crash(ending))


def _told_error(said: str) -> PtychoDistError | None:
    """Error of this package that a rank has told last, if it told one."""
    told = re.findall(rf"^{PROGRAM}: (\w+): (.+)$", said, re.MULTILINE)
    kind: Any = getattr(errors, told[-1][0], None) if told else None
    return kind(told[-1][1]) if isinstance(kind, type) and issubclass(kind, PtychoDistError) else None


def _crash(ending: LaunchOutcome) -> str:
    return f"rank 0 failed with exit code {ending.code} and said:\n{ending.said}"
