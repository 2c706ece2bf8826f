"""The object of a simulation, in memory or, where it is large, in a file that all ranks fill and read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.distributed.rank_group import RankGroup
from ptycho_dist.distributed.sharding import shard
from ptycho_dist.mapped_files import create_mapped, let_go, open_mapped
from ptycho_dist.simulate.objects import PictureObject

_MOST_IN_MEMORY_PX = 2**25
"""Pixels of an object that every rank makes for itself; a larger one takes more than a GiB while it is made."""
_ROWS = 256


@contextmanager
def object_on_ranks(
    source: PictureObject, shape: tuple[int, int], folder: Path, ranks: RankGroup
) -> Iterator[NDArray[np.complex64]]:
    """Give every rank the same object.

    Parameters
    ----------
    source
        Makes it.
    shape
        Rows and columns (H, W).
    folder
        Folder of all ranks in which a large object is kept until the end of the block; made where it is needed.
    ranks
        Exchange with the other ranks.

    Yields
    ------
    ndarray
        complex64, shape (H, W); not to be changed.
    """
    if math.prod(shape) <= _MOST_IN_MEMORY_PX:
        yield source.make(shape)
        return
    path = folder / "object.npy"

    def create() -> None:
        if ranks.rank == 0:
            folder.mkdir(exist_ok=True)
            create_mapped(path, shape, np.complex64)

    ranks.on_all_ranks(create)
    array = ranks.on_all_ranks(lambda: open_mapped(path))
    ranks.on_all_ranks(lambda: _fill(array, source, ranks))
    yield array


def _fill(array: np.memmap[tuple[int, ...], np.dtype[np.complex64]], source: PictureObject, ranks: RankGroup) -> None:
    """Make the rows of this rank."""
    rows, columns = array.shape
    make, own = source.in_rows((rows, columns)), shard(rows, ranks.rank, ranks.world)
    for first in range(own.start, own.stop, _ROWS):
        last = min(first + _ROWS, own.stop)
        array[first:last] = make(first, last)
        array.flush()
        let_go(array)
