"""Arrays that lie in files, so that memory holds only what of them is in use."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def create_mapped(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> np.memmap[Any, np.dtype[Any]]:
    """Map a new NPY file whose room on the disk is taken already: a full disk is an error here, not a signal later.

    Raises
    ------
    OSError
        If the disk has no room for it.
    """
    array: np.memmap[Any, np.dtype[Any]] = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def open_mapped(path: Path) -> np.memmap[Any, np.dtype[Any]]:
    """Map an NPY file to be read and written."""
    array: np.memmap[Any, np.dtype[Any]] = np.lib.format.open_memmap(path, "r+")
    return array


def let_go(array: NDArray[Any]) -> None:
    """Take no more memory for what was written to or read from a mapped file; it is read again where it is used."""
    if isinstance(array.base, mmap.mmap):
        array.base.madvise(mmap.MADV_DONTNEED)
