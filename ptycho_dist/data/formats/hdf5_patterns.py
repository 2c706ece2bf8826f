"""Rows of patterns in an HDF5 file, read as they are asked for."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.hdf5 import file_of, open_file, other_sources, reading, require_dataset
from ptycho_dist.data.formats.recent_chunks import MOST_BYTES, RecentChunks
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import IntArray

_LEAST_KEPT = 16
"""Chunks that must go into memory for any to be kept."""


class H5Patterns:
    """Pattern rows of an HDF5 dataset; each process opens its own handle, and holds the parts of a virtual one.

    Of chunks of several patterns, those read last are kept (:mod:`~ptycho_dist.data.formats.recent_chunks`). Rows that
    follow each other are read past them.
    """

    def __init__(self, path: Path, key: str, shape: tuple[int, int, int]) -> None:
        self._path = path
        self._key = key
        self._shape = shape
        self._file: h5py.File | None = None
        self._parts: list[h5py.File] = []
        self._source: h5py.h5d.DatasetID | None = None
        self._recent: RecentChunks | None = None
        self._pid = -1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(B, N, N)."""
        return self._shape

    def read(self, index: IntArray) -> NDArray[Any]:
        """Return the raw rows ``index`` (any order, repeats allowed), shape (len(index), N, N)."""
        try:
            source = self._opened()
            if self._recent is not None and (np.diff(index) != 1).any():
                values = self._recent.read(index)
                if values is not None:
                    return values
            return _read_rows(source, index, self._shape[1:])
        except (OSError, RuntimeError, KeyError) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise
            msg = f"{self._key!r} in {self._path} cannot be read ({error}); the file is damaged. Copy it again."
            raise DataFormatError(msg) from error

    def unwritten(self) -> IntArray:
        """Rows of which no chunk was written; those of a virtual or contiguous dataset count as written."""
        with reading(self._path) as file:
            dataset = require_dataset(file, self._path, self._key)
            if dataset.chunks is None or dataset.is_virtual:
                return np.empty(0, np.int64)
            written = np.zeros(self._shape[0], np.bool_)
            depth = dataset.chunks[0]

            def mark(chunk: Any) -> None:
                written[chunk.chunk_offset[0] : chunk.chunk_offset[0] + depth] = True

            dataset.id.chunk_iter(mark)
        return np.flatnonzero(~written)

    def close(self) -> None:
        """Close the handle of this process."""
        if self._file is not None and self._pid == os.getpid():
            for one in (self._file, *self._parts):
                one.close()
        self._file = self._source = self._recent = None
        self._parts = []

    def _opened(self) -> h5py.h5d.DatasetID:
        if self._source is None or self._pid != os.getpid():
            self._file = open_file(self._path)
            self._pid = os.getpid()
            dataset = require_dataset(self._file, self._path, self._key)
            self._parts = _hold_sources(self._path, dataset)
            self._source = dataset.id
            self._recent = _kept_chunks(dataset, self._parts)
        return self._source

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_parts": [], "_source": None, "_recent": None, "_pid": -1}


def _kept_chunks(dataset: h5py.Dataset, parts: list[h5py.File]) -> RecentChunks | None:
    """Memory for chunks of several patterns, where a good number of them goes into it; else None."""
    stored = dataset if not dataset.is_virtual or not parts else _stored(dataset, parts[0])
    chunk = stored.chunks if isinstance(stored, h5py.Dataset) else None
    if chunk is None or chunk[0] == 1 or chunk[1:] != dataset.shape[1:]:
        return None
    if _LEAST_KEPT * math.prod(chunk) * dataset.dtype.itemsize > MOST_BYTES:
        return None
    source = dataset.id

    def load(first: int, last: int, values: NDArray[Any]) -> None:
        _read_runs(source, np.arange(first, last), values)

    return RecentChunks(dataset.shape, chunk[0], source.dtype, load)


def _stored(dataset: h5py.Dataset, part: h5py.File) -> Any:
    """Find the dataset of the first file that a virtual dataset joins."""
    return part.get(other_sources(dataset)[0].dset_name)


def _hold_sources(path: Path, dataset: h5py.Dataset) -> list[h5py.File]:
    """Open the files of a virtual dataset now, while a failure is an error; later HDF5 gives zeros for such rows.

    HDF5 shares a file that is open already, but needs a descriptor for a moment until it knows.
    """
    parts = dict.fromkeys(path.resolve().parent / file_of(source) for source in other_sources(dataset))
    held = [open_file(part) for part in parts]
    if held:
        open_file(path).close()
    for source in other_sources(dataset):
        dataset[tuple(int(first) for first in source.vspace.get_select_bounds()[0])]
    return held


def _read_rows(source: h5py.h5d.DatasetID, index: IntArray, side: tuple[int, int]) -> NDArray[Any]:
    """Read rows in any order, each once."""
    if (np.diff(index) == 1).all():
        rows, place = index, None
    else:
        rows, place = np.unique(index, return_inverse=True)
    values = np.empty((len(rows), *side), source.dtype)
    _read_runs(source, rows, values)
    in_order = place is None or (len(place) == len(rows) and (place[1:] > place[:-1]).all())
    return values if in_order else values[place]


def _read_runs(source: h5py.h5d.DatasetID, rows: IntArray, values: NDArray[Any]) -> None:
    """Read sorted rows into an array; HDF5 is called directly, for h5py prepares each call longer than HDF5 reads."""
    space, kind = source.get_space(), source.get_type()
    for start, stop in _runs(rows):
        block = (stop - start, *values.shape[1:])
        space.select_hyperslab((int(rows[start]), 0, 0), block)
        source.read(h5py.h5s.create_simple(block), space, values[start:stop], kind)


def _runs(rows: IntArray) -> Iterator[tuple[int, int]]:
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    bounds = [0, *breaks.tolist(), len(rows)]
    return ((a, b) for a, b in pairwise(bounds) if b > a)
