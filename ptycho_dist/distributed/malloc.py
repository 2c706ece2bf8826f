"""How this process keeps the memory that large arrays give back."""

from __future__ import annotations

import ctypes
import logging

logger = logging.getLogger(__name__)

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of mallopt(3)."""
_KEPT_BYTES = 1 << 30
_LARGEST_KEPT_BYTES = 32 << 20
"""The most that glibc admits for M_MMAP_THRESHOLD."""


def keep_freed_memory() -> bool:
    """Let arrays of up to 32 MiB use again the memory that others gave back, up to 1 GiB of it.

    glibc else returns it to the kernel and takes new pages, which are cleared at first touch, many times in each
    step. Peak memory stays as it is. The environment variables of mallopt(3) have the last word.

    Returns
    -------
    bool
        Whether the C library has taken it; others than glibc have no such settings.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        logger.debug("this C library has no mallopt; freed memory goes where it decides")
        return False
    kept = (_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES), (_TRIM_THRESHOLD, _KEPT_BYTES)
    return all(library.mallopt(name, value) == 1 for name, value in kept)
