"""Arrays of a product that several processes fill at once, each with tiles of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from ptycho_dist.atomic import publish
from ptycho_dist.data.formats.product_views import write_views
from ptycho_dist.hdf5_files import write_all, writing

OBJECT = "object"
"""Name of the object among the arrays that are written in tiles."""


@dataclass(frozen=True)
class Place:
    """Where the numbers of an array (H, W) lie in a file, row by row.

    Parameters
    ----------
    offset
        Byte of the first.
    shape
        Rows and columns.
    dtype
        Type of a number.
    """

    offset: int
    shape: tuple[int, int]
    dtype: str


def create_in_place(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: str) -> h5py.Dataset:
    """Make a dataset that has its place in the file at once; what is not written stays undefined."""
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return group.create_dataset(name, shape, dtype, dcpl=settings)


def place_of(dataset: h5py.Dataset) -> Place:
    """Find the place of a dataset of :func:`create_in_place`, whose last two axes are rows and columns."""
    rows, columns = dataset.shape[-2:]
    return Place(int(dataset.id.get_offset()), (rows, columns), dataset.dtype.str)


class TileWriter:
    """Writes tiles into places of a file that no program has open as HDF5; a context manager.

    Parameters
    ----------
    path
        The file.
    places
        Places of its arrays, by name.
    """

    def __init__(self, path: Path, places: Mapping[str, Place]) -> None:
        self._path, self._places = path, places
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._descriptor = os.open(self._path, os.O_WRONLY)
        self._stack.callback(os.close, self._descriptor)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None:
                os.fsync(self._descriptor)

    def write(self, name: str, corner: tuple[int, int], tile: NDArray[Any]) -> None:
        """Write a tile (h, w), its first pixel at ``corner`` (row, column).

        Raises
        ------
        OSError
            If the disk takes no more.
        """
        place = self._places[name]
        content, columns = np.ascontiguousarray(tile, place.dtype), place.shape[1]
        rows = content.reshape(1, -1) if content.shape[1] == columns else content
        for number, row in enumerate(rows):
            start = (corner[0] + number) * columns + corner[1]
            try:
                write_all(self._descriptor, memoryview(row).cast("B"), place.offset + start * content.itemsize)
            except OSError as error:
                raise OSError(error.errno, os.strerror(error.errno or 0), str(self._path)) from error


@dataclass(frozen=True)
class UnfinishedProduct:
    """A product whose large arrays are yet to be written, by one process or by several.

    Parameters
    ----------
    path
        Name that it will have.
    temporary
        Name that it has.
    places
        Places of the object and of arrays of our own, by name.
    """

    path: Path
    temporary: Path
    places: Mapping[str, Place]

    def tiles(self) -> TileWriter:
        """Open it for tiles."""
        return TileWriter(self.temporary, self.places)

    def publish(self) -> None:
        """Let it appear under its name, when all is written."""
        with writing(self.temporary, keep=True) as file:
            write_views(file)
        publish(self.temporary, self.path)

    def discard(self) -> None:
        """Remove it, if it has not been published."""
        self.temporary.unlink(missing_ok=True)
