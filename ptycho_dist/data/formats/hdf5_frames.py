"""Frames of a detector in an HDF5 dataset with named axes, and frames of several sources that follow each other."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.base import PatternSource
from ptycho_dist.data.formats.hdf5 import DAMAGE, open_file, reading, require_dataset
from ptycho_dist.data.formats.hdf5_links import Place, files_of, require_place
from ptycho_dist.data.formats.hdf5_patterns import H5Patterns
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import IntArray

_DEFLATE_RATIO, _SMALL_BYTES = 1100, 1 << 20
_MOST_FRAMES, _MOST_PIXELS = 10**7, 2**26
FRAME, ROW, COLUMN = "frame", "y", "x"
"""Axes of a dataset: any number of ``frame`` (of a raster: slow, then fast), one ``y`` and one ``x``."""


class AxisFrames:
    """Frames of a dataset whose axes are in any order; each process opens its own handle.

    Parameters
    ----------
    place
        The dataset.
    axes
        Name of each axis: ``frame``, ``y``, ``x``, or a number, which is the index taken of that axis.
    lengths
        Its shape.
    """

    def __init__(self, place: Place, axes: tuple[str | int, ...], lengths: tuple[int, ...]) -> None:
        self._place, self._axes, self._lengths = place, axes, lengths
        self._file: h5py.File | None = None
        self._dataset: Any = None
        self._pid = -1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(B, H, W)."""
        height, width = (self._lengths[self._axes.index(name)] for name in (ROW, COLUMN))
        return math.prod(self._raster()), height, width

    def read(self, index: IntArray) -> NDArray[Any]:
        """Return the frames ``index`` (any order, repeats allowed), shape (len(index), H, W)."""
        try:
            dataset = self._opened()
            values = np.empty((len(index), *self.shape[1:]), dataset.dtype)
            for place, where in enumerate(zip(*np.unravel_index(index, self._raster()), strict=True)):
                values[place] = self._one(dataset, [int(one) for one in where])
        except DAMAGE as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise
            place_ = self._place
            msg = f"{place_.key!r} in {place_.path} cannot be read ({error}); the file is damaged. Copy it again."
            raise DataFormatError(msg) from error
        return values

    def unwritten(self) -> IntArray:
        """Frames of which no chunk was written; none where the layout does not tell."""
        return np.empty(0, np.int64)

    def close(self) -> None:
        """Close the handle of this process."""
        if self._file is not None and self._pid == os.getpid():
            self._file.close()
        self._file = self._dataset = None

    def _raster(self) -> tuple[int, ...]:
        return tuple(n for n, name in zip(self._lengths, self._axes, strict=True) if name == FRAME)

    def _one(self, dataset: Any, where: list[int]) -> NDArray[Any]:
        numbers = iter(where)
        chosen = tuple(
            slice(None) if name in (ROW, COLUMN) else next(numbers) if name == FRAME else name for name in self._axes
        )
        frame = np.asarray(dataset[chosen])
        return frame if self._axes.index(ROW) < self._axes.index(COLUMN) else frame.T

    def _opened(self) -> Any:
        if self._dataset is None or self._pid != os.getpid():
            self._file = open_file(self._place.path)
            self._pid = os.getpid()
            self._dataset = require_dataset(self._file, self._place.path, self._place.key)
        return self._dataset

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_dataset": None, "_pid": -1}


class JoinedFrames:
    """Frames of several sources, one after the other; can be pickled.

    Parameters
    ----------
    sources
        At least one; all with frames of one size.

    Raises
    ------
    DataFormatError
        If the sizes of their frames differ.
    """

    def __init__(self, sources: Sequence[PatternSource]) -> None:
        sides = {source.shape[1:] for source in sources}
        if len(sides) != 1:
            msg = f"the parts of the scan have frames of {sorted(sides)} pixels; expected one size. Leave others out."
            raise DataFormatError(msg)
        self._sources = tuple(sources)
        self._ends = np.cumsum([source.shape[0] for source in sources])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(B, H, W)."""
        return (int(self._ends[-1]), *self._sources[0].shape[1:])

    def read(self, index: IntArray) -> NDArray[Any]:
        """Return the frames ``index`` (any order, repeats allowed), shape (len(index), H, W)."""
        part = np.searchsorted(self._ends, index, side="right")
        begins = np.concatenate(([0], self._ends[:-1]))
        read = {int(one): self._sources[one].read((index - begins[one])[part == one]) for one in np.unique(part)}
        kinds = [rows.dtype for rows in read.values()] or [self._sources[0].read(index).dtype]
        values = np.empty((len(index), *self.shape[1:]), np.result_type(*kinds))
        for one, rows in read.items():
            values[part == one] = rows
        return values

    def unwritten(self) -> IntArray:
        """Return the numbers of frames that were declared but never written."""
        begins = np.concatenate(([0], self._ends[:-1]))
        return np.concatenate([s.unwritten() + first for s, first in zip(self._sources, begins, strict=True)])

    def close(self) -> None:
        """Release what the sources hold."""
        for source in self._sources:
            source.close()


def _require_sane(path: Path, key: str, shape: tuple[int, ...], axes: tuple[str | int, ...]) -> None:
    """Refuse sizes that no detector has, before memory is taken for them."""
    lengths = dict(zip(axes, shape, strict=True))
    count = math.prod(n for n, name in zip(shape, axes, strict=True) if name == FRAME)
    pixels = _pixels_of(shape, axes)
    too_far = [name for name, n in zip(axes, shape, strict=True) if isinstance(name, int) and not 0 <= name < n]
    if count > _MOST_FRAMES or pixels > _MOST_PIXELS or too_far:
        msg = (
            f"{key!r} in {path} declares {count} frames of {lengths[ROW]} x {lengths[COLUMN]} pixels (shape {shape}, "
            f"axes {', '.join(map(str, axes))}); expected at most {_MOST_FRAMES} frames of {_MOST_PIXELS} pixels, and "
            "numbers of an axis below its length. Name other axes, or another dataset."
        )
        raise DataFormatError(msg)


def _pixels_of(shape: tuple[int, ...], axes: tuple[str | int, ...]) -> int:
    """Pixels of a frame."""
    return math.prod(n for n, name in zip(shape, axes, strict=True) if name in (ROW, COLUMN))


def h5_frames(
    path: Path, key: str, axes: tuple[str | int, ...] | None = None
) -> tuple[PatternSource, tuple[Path, ...]]:
    """Open the frames of a dataset of an HDF5 file, through its links.

    Parameters
    ----------
    path, key
        The file, and the path of the dataset in it.
    axes
        Name of each axis: ``frame`` (once or more), ``y``, ``x``, or the index that is taken of an axis. Where not
        given, the last two are y and x.

    Returns
    -------
    PatternSource
        Raw rows (B, H, W).
    tuple of Path
        Other files that hold them.

    Raises
    ------
    DataFormatError
        If there is no such dataset, or it has other axes, no frames or no numbers.
    """
    place = require_place(path, key)
    with reading(place.path) as file:
        dataset = require_dataset(file, place.path, place.key)
        shape: Any = dataset.shape or ()
        kind, held = dataset.dtype, dataset.id.get_storage_size()
        is_elsewhere = dataset.is_virtual or bool(dataset.external)
    axes = axes or (FRAME,) * (len(shape) - 2) + (ROW, COLUMN)
    if len(axes) != len(shape) or len(shape) < 2 or 0 in shape or kind.kind not in "iufb":
        found = f"shape {shape} and dtype {kind}"
        msg = f"{key!r} in {path} has {found}; expected real numbers with the axes {', '.join(map(str, axes))}. "
        raise DataFormatError(msg + "Name the dataset that holds the frames, and its axes.")
    _require_sane(path, key, shape, axes)
    if not is_elsewhere and _pixels_of(shape, axes) * kind.itemsize > _DEFLATE_RATIO * held + _SMALL_BYTES:
        msg = (
            f"{key!r} in {path} declares frames of {_pixels_of(shape, axes)} pixels, but holds {held} bytes in all; "
            "expected the frames. The file is damaged, or its frames were never written. Copy it again."
        )
        raise DataFormatError(msg)
    if held == 0 and not is_elsewhere:
        msg = f"{key!r} in {path} declares shape {shape} but holds no data. Take the scan file that has the frames."
        raise DataFormatError(msg)
    is_plain = axes == (FRAME, ROW, COLUMN)
    plain = H5Patterns(place.path, place.key, shape) if is_plain else AxisFrames(place, axes, shape)
    return plain, files_of(path, place)
