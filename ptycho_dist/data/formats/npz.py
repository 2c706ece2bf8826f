"""Members of NPZ archives, without pickle and without whole arrays in memory.

Members stored without compression are memory-mapped in place. Compressed ones
are decompressed as a stream into an unnamed temporary file (in ``TMPDIR``) and
memory-mapped there. Mappings are read-only and safe to inherit over a fork;
no file handle stays open.
"""

from __future__ import annotations

import errno
import math
import shlex
import shutil
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.base import BoolArray
from ptycho_dist.data.formats.checks import checked_probe_mask
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import IntArray

_LOCAL_HEADER = struct.Struct("<26x2H")
_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_BLOCK_BYTES = 1 << 22
_MOST_LOADED_BYTES = _MOST_UNPACKED_BYTES = 1 << 30


@dataclass(frozen=True)
class MemberHeader:
    """Declared layout of a member, already checked against the member's size."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    data_offset: int
    info: zipfile.ZipInfo

    def map(self, source: IO[bytes], offset: int) -> NDArray[Any]:
        """Map the array data that starts at ``offset`` of ``source``."""
        order: Any = "F" if self.fortran else "C"
        return np.memmap(source, dtype=self.dtype, mode="r", offset=offset, shape=self.shape, order=order)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive; one whose directory points before its start makes zipfile seek there, which is EINVAL."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        msg = f"{path} is not a readable NPZ archive ({error}); it is damaged or truncated. Copy or export it again."
        raise DataFormatError(msg) from error


def member_names(path: Path) -> tuple[str, ...]:
    """Return the array names in an NPZ file."""
    with _archive(path) as archive:
        return tuple(name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy"))


def require_in_place(path: Path) -> None:
    """Refuse an archive with a large compressed member: each process would unpack all of it to read its own rows.

    Only the directory of the archive is read.

    Raises
    ------
    DataFormatError
        With the command that makes a file which is read in place.
    """
    with _archive(path) as archive:
        packed = [one for one in archive.infolist() if one.compress_type != zipfile.ZIP_STORED]
    largest = max(packed, key=lambda one: one.file_size, default=None)
    if largest is not None and largest.file_size > _MOST_UNPACKED_BYTES:
        msg = (
            f"{largest.filename.removesuffix('.npy')!r} in {path} is compressed and has {largest.file_size} bytes when "
            f"unpacked, which each rank would do for itself; expected at most {_MOST_UNPACKED_BYTES}. Convert it once: "
            f"ptycho-dist convert {shlex.quote(str(path))} {shlex.quote(str(path.with_suffix('.h5')))}"
        )
        raise DataFormatError(msg)


def _read_header(path: Path, archive: zipfile.ZipFile, key: str) -> MemberHeader:
    info = archive.getinfo(f"{key}.npy")
    if info.flag_bits & 1:
        msg = f"{key!r} in {path} is encrypted; expected a plain NPZ member. Export it without a password."
        raise DataFormatError(msg)
    with archive.open(info) as stream:
        try:
            version = np.lib.format.read_magic(stream)
            shape, fortran, dtype = _HEADER_READERS[version](stream)
        except (ValueError, KeyError, SyntaxError, tokenize.TokenError) as error:
            msg = f"{key!r} in {path} has no readable npy header ({error}); expected a numeric array. Re-export it."
            raise DataFormatError(msg) from error
        offset = stream.tell()
    _require_plain(path, key, dtype)
    declared = math.prod(shape) * dtype.itemsize
    if declared != info.file_size - offset:
        msg = (
            f"{key!r} in {path} declares shape {shape} of {dtype}, {declared} bytes, but holds "
            f"{info.file_size - offset}; the file is damaged. Export it again."
        )
        raise DataFormatError(msg)
    return MemberHeader(tuple(shape), dtype, fortran, offset, info)


def _require_plain(path: Path, key: str, dtype: np.dtype[Any]) -> None:
    if dtype.hasobject or dtype.names is not None:
        msg = (
            f"{key!r} in {path} has dtype {dtype}: a pickled or structured member, which is never loaded; "
            "expected plain numbers. Re-export it as a plain array."
        )
        raise DataFormatError(msg)


def member_header(path: Path, key: str) -> MemberHeader:
    """Read and check the header of one member; no array data is read."""
    with _archive(path) as archive:
        return _read_header(path, archive, key)


def load_member(path: Path, key: str) -> NDArray[Any]:
    """Load one (small) member into memory.

    Raises
    ------
    DataFormatError
        If the member is pickled, damaged, larger than 1 GiB, or its declared size is wrong.
    """
    size = member_header(path, key).info.file_size
    if size > _MOST_LOADED_BYTES:
        msg = f"{key!r} in {path} has {size} bytes; expected at most {_MOST_LOADED_BYTES}. Another is meant."
        raise DataFormatError(msg)
    return np.array(map_member(path, key))


def map_member(path: Path, key: str) -> NDArray[Any]:
    """Return a read-only array backed by the file, or by an unnamed temporary file."""
    with _archive(path) as archive:
        header = _read_header(path, archive, key)
        if math.prod(header.shape) == 0:
            return np.zeros(header.shape, header.dtype)
        if header.info.compress_type == zipfile.ZIP_STORED:
            return _map_stored(path, key, header)
        return _map_unpacked(path, archive, header)


def _map_stored(path: Path, key: str, header: MemberHeader) -> NDArray[Any]:
    with path.open("rb") as stream:
        stream.seek(header.info.header_offset)
        name_bytes, extra_bytes = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
        start = header.info.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
        if start + header.info.file_size > path.stat().st_size:
            msg = f"{key!r} in {path} ends after the end of the file; it is truncated. Copy or export it again."
            raise DataFormatError(msg)
        return header.map(stream, start + header.data_offset)


def _map_unpacked(path: Path, archive: zipfile.ZipFile, header: MemberHeader) -> NDArray[Any]:
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if header.info.file_size > free:
        msg = (
            f"{path} needs {header.info.file_size} bytes of temporary space to be unpacked; {free} are free. "
            "Set TMPDIR to a folder with room, or store the file without compression."
        )
        raise DataFormatError(msg)
    with tempfile.TemporaryFile() as unpacked:
        with archive.open(header.info) as stream:
            shutil.copyfileobj(stream, unpacked, _BLOCK_BYTES)
        unpacked.flush()
        return header.map(unpacked, header.data_offset)


def load_probe_mask(path: Path, names: Collection[str], N: int) -> BoolArray | None:
    """Load where the probe may differ from zero, bool (N, N), from member ``probe_mask``; None without one.

    Raises
    ------
    DataFormatError
        If the member is damaged, of the wrong shape, or not of 0 and 1.
    """
    return checked_probe_mask(path, load_member(path, "probe_mask"), N) if "probe_mask" in names else None


class NpzPatterns:
    """Pattern rows in a member of an NPZ file.

    Parameters
    ----------
    path, key
        Archive and member.
    shape
        (B, N, N) after the conversions below.
    last_axis
        True for (N, N, B) storage; else leading axes of length 1 are dropped.
    """

    def __init__(self, path: Path, key: str, shape: tuple[int, int, int], *, last_axis: bool = False) -> None:
        self._path = path
        self._key = key
        self._last_axis = last_axis
        self._shape = shape
        self._mapped: NDArray[Any] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(B, N, N)."""
        return self._shape

    def read(self, index: IntArray) -> NDArray[Any]:
        """Return the raw rows ``index``, shape (len(index), N, N)."""
        if self._mapped is None:
            mapped = map_member(self._path, self._key)
            self._mapped = np.moveaxis(mapped, -1, 0) if self._last_axis else mapped.reshape(self._shape)
        return np.array(self._mapped[index])

    def unwritten(self) -> IntArray:
        """No rows: an archive is written whole."""
        return np.empty(0, np.int64)

    def close(self) -> None:
        """Drop the mapping."""
        self._mapped = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapped": None}


@dataclass(frozen=True)
class NpzObject:
    """An object array in an NPZ file; leading axes of length 1 are dropped."""

    path: Path
    key: str

    def load(self) -> NDArray[np.complex64]:
        """Return the object as complex64, shape (H, W)."""
        array = load_member(self.path, self.key)
        return array.reshape(array.shape[-2:]).astype(np.complex64)
