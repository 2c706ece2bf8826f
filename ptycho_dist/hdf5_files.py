"""HDF5 files as they are opened and written: without file locks, and safe on a disk that fills up."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

_OPEN_FOR_WRITING = "already open for write"
"""What HDF5 says of a file whose writer has not closed it."""
_NOT_SWMR = "not already open for SWMR writing"
"""What it says of one that is to be followed, whose writer does not use SWMR."""


def open_for_reading(path: Path) -> h5py.File:
    """Open an HDF5 file for reading; file systems without locks will do.

    Raises
    ------
    OSError
        With ``errno`` and ``filename`` where the system refuses; without where the content does, which
        :func:`describe_refusal` explains.
    """
    return _opened(path)


def _opened(path: Path, **how: Any) -> h5py.File:
    try:
        return h5py.File(path, "r", locking=False, **how)
    except OSError as error:
        if error.errno in (None, errno.EIO):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def open_for_following(path: Path) -> h5py.File:
    """Open an HDF5 file that another process may be writing in SWMR form.

    While it is open, :func:`open_for_reading` opens the same file, too, and both see what it holds now.

    Raises
    ------
    OSError
        As :func:`open_for_reading`; also where the writer does not use SWMR.
    """
    return _opened(path, swmr=True, libver="latest")


def in_memory() -> h5py.File:
    """Open a file that is in memory only, for what HDF5 can do to an array."""
    return h5py.File("memory", "w", driver="core", backing_store=False)


def open_for_appending(path: Path) -> h5py.File:
    """Make an HDF5 file that other processes may follow once its ``swmr_mode`` is set.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    return h5py.File(path, "w", libver="latest", locking=False)


def describe_refusal(error: OSError) -> str:
    """Say what an error of :func:`open_for_reading` means and what to do, to follow ``PATH is``."""
    if _NOT_SWMR in str(error):
        return (
            "open in a program that writes it, but not in SWMR form; expected HDF5 SWMR (libver latest, swmr_mode "
            "True), or a closed file. Let the program write it so, or wait until it is closed"
        )
    if _OPEN_FOR_WRITING in str(error):
        return (
            "open in a program that still writes it (HDF5 SWMR or latest format), or was left so when that one ended; "
            "expected a closed file. Wait until it is closed; if no program has it open, run h5clear -s on it"
        )
    return (
        f"not a readable HDF5 file ({error}); it is damaged or truncated, or not written to its end yet. Copy or "
        "export it again"
    )


class OutputFile(h5py.File):  # type: ignore[misc]  # h5py has no types
    """An HDF5 file that is written; HDF5 itself never sees a write fail.

    After a failed write HDF5 can neither flush nor close a file, and crashes over it. So writes go through
    :class:`_Disk`, which keeps the first failure and holds the rest in memory until the file is closed.
    """

    def __init__(self, disk: _Disk, mode: str) -> None:
        super().__init__(disk, mode)
        self._disk = disk

    def require_written(self) -> None:
        """Raise what a write failed with; to be called between large writes.

        Raises
        ------
        OSError
            If the disk has taken no more, or a quota or limit is reached.
        BaseException
            What a signal raised in mid-write.
        """
        if self._disk.failure is not None:
            raise self._disk.failure


@contextmanager
def writing(path: Path, *, keep: bool = False) -> Iterator[OutputFile]:
    """Make an HDF5 file and write it, without file locks.

    Parameters
    ----------
    path
        The file, in a folder that is there.
    keep
        Add to the file of this name; else it is replaced.

    Raises
    ------
    OSError
        If it cannot be made, or at the end if a write has failed.
    """
    with _Disk(path, keep=keep) as disk:
        with OutputFile(disk, "r+" if keep else "w") as file:
            yield file
        if disk.failure is not None:
            raise disk.failure


class _Disk(io.RawIOBase):
    """A file as HDF5 sees it: a failed write is kept in ``failure``; from then on writes stay in memory.

    Parameters
    ----------
    path
        The file.
    keep
        Whether its content stays.
    """

    def __init__(self, path: Path, *, keep: bool = False) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | (0 if keep else os.O_CREAT | os.O_TRUNC), 0o666)
        self._position = 0
        self._kept: list[tuple[int, bytes]] = []
        self.failure: BaseException | None = None

    def close(self) -> None:
        """Close the file; what the system tells only now is kept too."""
        if not self.closed:
            self._keep_failure(lambda: os.close(self._descriptor))
        super().close()

    def readable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position, from the start or from the end."""
        end = os.fstat(self._descriptor).st_size if whence == os.SEEK_END else 0
        self._position = end + offset
        return self._position

    def truncate(self, size: int | None = None) -> int:
        """Set the size."""
        wanted = self._position if size is None else size
        self._keep_failure(lambda: os.ftruncate(self._descriptor, wanted))
        return wanted

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def write(self, data: Any) -> int:
        """Write bytes at the position."""
        content = memoryview(data).cast("B")
        if self.failure is None:
            self._keep_failure(lambda: write_all(self._descriptor, content, self._position))
        if self.failure is not None:
            self._kept.append((self._position, bytes(content)))
        self._position += len(content)
        return len(content)

    def readinto(self, buffer: Any) -> int:
        """Read bytes at the position, as far as there are any; those never written are zero."""
        found = memoryview(buffer).cast("B")
        found[:] = bytes(len(found))
        self._keep_failure(lambda: os.preadv(self._descriptor, [found], self._position))
        for start, content in self._kept:
            first, last = max(start, self._position), min(start + len(content), self._position + len(found))
            if first < last:
                found[first - self._position : last - self._position] = content[first - start : last - start]
        self._position += len(found)
        return len(found)

    def _keep_failure(self, work: Callable[[], object]) -> None:
        """Do something to the file; HDF5 has called, so an error, or what a signal raises, waits for its return."""
        try:
            work()
        except OSError as error:
            self.failure = self.failure or OSError(error.errno, os.strerror(error.errno or 0), str(self._path))
        except BaseException as error:  # noqa: BLE001  # require_written() raises it outside of HDF5
            self.failure = self.failure or error


def write_all(descriptor: int, content: memoryview, start: int) -> None:
    """Write bytes to an open file from a position on."""
    done = 0
    while done < len(content):
        done += os.pwrite(descriptor, content[done:], start + done)
