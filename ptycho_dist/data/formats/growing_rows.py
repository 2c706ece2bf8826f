"""Which rows of a scan are there while it is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray


def first_rows(path: Path, n_frames: int, positions: FloatArray) -> int:
    """Count the rows, from the first on, that have a frame and a position.

    Positions at the end that are no numbers, or exactly (0, 0), are yet to be written: both are what HDF5 gives there.

    Raises
    ------
    DataFormatError
        If there are none.
    """
    there = positions[:n_frames]
    known = np.isfinite(there).all(axis=1)
    unknown = np.flatnonzero(~known)
    count = int(unknown[0]) if len(unknown) else len(there)
    filled = np.flatnonzero(there[:count].any(axis=1))
    count = int(filled[-1]) + 1 if len(filled) else 0
    if not count:
        msg = f"{path} holds {n_frames} frames and no position of the first yet; expected one for each frame. Wait."
        raise DataFormatError(msg)
    return count


def written_rows(dataset: h5py.Dataset) -> int:
    """Count the rows of a dataset before the first of which nothing is in the file."""
    rows = int(dataset.shape[0])
    if dataset.chunks is None or dataset.is_virtual:
        return rows
    depth = int(dataset.chunks[0])
    written = np.zeros(-(-rows // depth) + 1, np.bool_)

    def look(chunk: Any) -> None:
        place = int(chunk.chunk_offset[0]) // depth
        if place < len(written) - 1:
            written[place] = True

    dataset.id.chunk_iter(look)
    return min(rows, int(np.argmin(written)) * depth)
