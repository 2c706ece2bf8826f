"""How a process ends: its exit codes, and what an error means for it."""

from __future__ import annotations

import errno

from ptycho_dist.errors import PtychoDistError
from ptycho_dist.launching.open_files import is_out_of_files
from ptycho_dist.launching.signals import EXIT_RESUMABLE, StopRequested

CRASH = 1
"""A fault of the program, or another rank that is gone."""
USER_ERROR = 2
"""What a user can fix, reported in one line."""
INTERRUPTED = 130
"""After Ctrl-C, as shells give it."""

SILENT_RANK = (
    "Timed out waiting",
    "timeout caused pair closure",
    "Connection timed out",
    "No route to host",
    "Watchdog caught collective operation timeout",
    "milliseconds before timing out",
)
"""What torch says in a rank when another one does not answer, by gloo or by NCCL."""
LOST_RANK = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "gloo/transport",
    "ncclRemoteError",
    "remote process exited or there was a network error",
    "NCCL communicator was aborted",
    *SILENT_RANK,
)
"""What torch says in a rank when another one is gone (the supervisor names that one) or does not answer."""
STORAGE_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EIO,
    errno.EFBIG,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ESTALE,
    errno.ENOLCK,
)
"""Errors of the system that tell of full, locked or missing storage, not of a fault of the program."""


def is_lost_rank(error: BaseException) -> bool:
    """Tell whether an error says no more than that another rank is gone or silent."""
    return isinstance(error, RuntimeError) and any(words in str(error) for words in LOST_RANK)


def is_silent_rank(error: BaseException) -> bool:
    """Tell whether an error says that another rank did not answer in time."""
    return any(words in str(error) for words in SILENT_RANK)


def is_storage_error(error: BaseException) -> bool:
    """Tell whether an error is about storage that a user can fix."""
    return isinstance(error, OSError) and error.errno in STORAGE_ERRORS


def exit_code(error: BaseException) -> int:
    """Exit code of a process that ends with this error."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, StopRequested):
        return EXIT_RESUMABLE
    told = isinstance(error, PtychoDistError) or is_storage_error(error) or is_out_of_files(error)
    return USER_ERROR if told else CRASH
