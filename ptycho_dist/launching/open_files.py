"""How many files and connections this process may hold open."""

from __future__ import annotations

import errno
import logging
import resource
from contextlib import suppress

logger = logging.getLogger(__name__)

_MOST = 1 << 20
"""As many as any job needs, where the system sets no limit."""
OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)


def raise_limit() -> int:
    """Raise the soft limit on open files to the hard one, as any process may.

    Returns
    -------
    int
        The limit in force.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            logger.debug("the limit on open files was raised from %d to %d", soft, wanted)
    return limit()


def limit() -> int:
    """Give the limit in force."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST if soft == resource.RLIM_INFINITY else soft


def is_out_of_files(error: BaseException) -> bool:
    """Tell whether an error means that too many files are open; torch has it in its words only."""
    if isinstance(error, OSError):
        return error.errno in OUT_OF_FILES
    return isinstance(error, RuntimeError) and "Too many open files" in str(error)
