"""Frames of a stream on disk as they come, so that none is lost and memory does not grow with the scan."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from ptycho_dist.errors import DataFormatError
from ptycho_dist.hdf5_files import in_memory, open_for_appending
from ptycho_dist.live.stream_messages import Image
from ptycho_dist.types import FloatArray, IntArray

NAME = "frames.h5"
FRAMES, NUMBERS, POSITIONS = "frames", "numbers", "positions"
_ROWS = 1024
_LZ4_HEADER = struct.Struct(">QI")
_LZ4_BLOCK = struct.Struct(">I")


class Spool:
    """An HDF5 file of frames in the order in which they came; other processes may follow it (SWMR).

    Frames are kept as they were sent: HDF5 takes the form of compressed ones for its own.

    Parameters
    ----------
    path
        The file.
    first
        Any frame of the series, which tells type and size of all.
    """

    def __init__(self, path: Path, first: Image) -> None:
        self.path, self.shape, self._dtype = path, first.shape, first.dtype
        self._file = open_for_appending(path)
        height, width = first.shape
        self._frames = self._file.create_dataset(
            FRAMES, (0, height, width), first.dtype, maxshape=(None, height, width), chunks=(1, height, width),
            **_filters(first),
        )  # fmt: skip
        self._encoding = first.encoding
        self._numbers = self._file.create_dataset(NUMBERS, (0,), np.int64, maxshape=(None,), chunks=(_ROWS,))
        self._positions = self._file.create_dataset(
            POSITIONS, (0, 2), np.float64, maxshape=(None, 2), chunks=(_ROWS, 2), fillvalue=math.nan
        )
        self._file.swmr_mode = True

    def __len__(self) -> int:
        return int(self._frames.shape[0])

    def append(self, images: list[Image]) -> None:
        """Write frames.

        Raises
        ------
        DataFormatError
            If one has another type, size or encoding than the first.
        """
        start = len(self)
        for image in images:
            self._require_alike(image)
        self._frames.resize(start + len(images), 0)
        for row, image in enumerate(images, start):
            self._frames.id.write_direct_chunk((row, 0, 0), _chunk(image))
        self._numbers.resize(start + len(images), 0)
        self._numbers[start:] = [image.frame for image in images]
        self._positions.resize(start + len(images), 0)

    def note_positions(self, rows: IntArray, values: FloatArray) -> None:
        """Write positions of some rows."""
        order = np.argsort(rows)
        self._positions[rows[order]] = values[order]

    def flush(self) -> None:
        """Let other processes see what was written."""
        for dataset in (self._frames, self._numbers, self._positions):
            dataset.flush()

    def read(self, rows: IntArray) -> NDArray[Any]:
        """Read frames (n, H, W) by row.

        Raises
        ------
        DataFormatError
            If one cannot be decompressed.
        """
        values = np.empty((len(rows), *self.shape), self._dtype)
        for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
            if len(run):
                first = int(rows[run[0]])
                self._read_into(values[run[0] : run[-1] + 1], first)
        return values

    def _read_into(self, values: NDArray[Any], first: int) -> None:
        """Read frames that follow each other."""
        try:
            self._frames.read_direct(values, np.s_[first : first + len(values)])
        except OSError as error:
            if len(values) > 1:
                for place in range(len(values)):
                    self._read_into(values[place : place + 1], first + place)
            number = int(self._numbers[first])
            msg = f"frame {number} of the stream cannot be decompressed ({error}); expected bitshuffle and LZ4 or LZ4, "
            raise DataFormatError(msg + "as its encoding says. Correct the sender.") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _require_alike(self, image: Image) -> None:
        plain_bytes = math.prod(image.shape) * image.dtype.itemsize
        is_whole = image.encoding != "<" or len(image.data) == plain_bytes
        if (image.shape, image.dtype, image.encoding) != (self.shape, self._dtype, self._encoding) or not is_whole:
            msg = (
                f"frame {image.frame} of the stream is {image.shape} {image.dtype}, encoded as {image.encoding!r}, of "
                f"{len(image.data)} bytes; expected {self.shape} {self._dtype}, {self._encoding!r}. Correct the sender."
            )
            raise DataFormatError(msg)


def decoded(image: Image) -> NDArray[Any]:
    """Decompress one frame (H, W) in memory.

    Raises
    ------
    DataFormatError
        If that cannot be done.
    """
    with in_memory() as file:
        dataset = file.create_dataset("x", image.shape, image.dtype, chunks=image.shape, **_filters(image))
        dataset.id.write_direct_chunk((0, 0), _chunk(image))
        try:
            values: NDArray[Any] = dataset[:]
        except OSError as error:
            msg = f"an array of the stream cannot be decompressed ({error}); expected it as its encoding says, "
            raise DataFormatError(f"{msg}{image.encoding!r}. Correct the sender.") from error
    return values


def _filters(image: Image) -> dict[str, Any]:
    if image.encoding == "<":
        return {}
    return dict(hdf5plugin.LZ4() if image.encoding == "lz4<" else hdf5plugin.Bitshuffle(cname="lz4"))


def _chunk(image: Image) -> bytes:
    """Bytes of an image as HDF5 has them: one plain block of LZ4 gets the header that HDF5 expects."""
    if image.encoding != "lz4<":
        return image.data
    size = math.prod(image.shape) * image.dtype.itemsize
    if len(image.data) > _LZ4_HEADER.size and _LZ4_HEADER.unpack_from(image.data)[0] == size:
        return image.data
    return _LZ4_HEADER.pack(size, size) + _LZ4_BLOCK.pack(len(image.data)) + image.data


class SpooledFrames:
    """Rows of a spool as a source of patterns.

    Parameters
    ----------
    spool
        The open spool.
    rows
        int64, shape (n,): its rows, in the order of the measurement.
    """

    def __init__(self, spool: Spool, rows: IntArray) -> None:
        self._spool, self._rows = spool, rows

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, H, W)."""
        return (len(self._rows), *self._spool.shape)

    def read(self, index: IntArray) -> NDArray[Any]:
        """Return the frames ``index``, shape (len(index), H, W)."""
        return self._spool.read(self._rows[index])

    def unwritten(self) -> IntArray:
        """Return no number: all are there."""
        return np.empty(0, np.int64)

    def close(self) -> None:
        """Do nothing: the spool is closed by its owner."""
