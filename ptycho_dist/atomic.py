"""Outputs that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def temporary_name(path: Path) -> Path:
    """Return the temporary name, in the same folder, under which ``path`` is written by this process."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the storage device."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(temporary: Path, path: Path) -> None:
    """Sync a finished temporary file, rename it to ``path``, and sync the folder."""
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name; on success it becomes ``path``, on an error it is removed.

    The parent folder is made if needed. A file already at ``path`` stays as it is until the rename.

    Raises
    ------
    OSError
        With ``path`` as its file name, where the system names none or the temporary one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        yield temporary
        publish(temporary, path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
