"""A small disk of its own (needs root), to be filled up."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BLOCK = b"\0" * 4096


def missing() -> str | None:
    """Say what a small disk lacks here; None when one can be mounted."""
    return None if os.geteuid() == 0 else "a disk of its own needs root"


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """Mount a disk of so many MiB at a folder, and take it away at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Fill the disk of a folder to the last block; returns the file that does it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(_BLOCK)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                return filler
