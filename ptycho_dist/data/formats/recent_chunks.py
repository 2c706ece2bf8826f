"""Unpacked chunks of patterns, kept for the next reads: training takes some patterns of a chunk now, others later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.types import IntArray

MOST_BYTES = 1 << 28
"""Memory of the chunks that a process keeps of one scan; larger scans keep as many as go into it."""


class RecentChunks:
    """Chunks of a dataset of patterns, those that came last.

    Parameters
    ----------
    shape
        (B, N, N) of the dataset.
    depth
        Patterns in a chunk; chunk c holds patterns c * depth and on.
    dtype
        Type of its values.
    load
        Reads the patterns from a first to before a last one into an array.
    most_bytes
        Memory that chunks may take.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        depth: int,
        dtype: np.dtype[Any],
        load: Callable[[int, int, NDArray[Any]], None],
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._count, self._depth, self._load = shape[0], depth, load
        slots = min(-(-shape[0] // depth), most_bytes // (depth * shape[1] * shape[2] * dtype.itemsize))
        self._values = np.empty((slots * depth, *shape[1:]), dtype)
        self._chunk_in = np.full(slots, -1, np.int64)
        self._slot_of: dict[int, int] = {}
        self._next = 0

    def read(self, rows: IntArray) -> NDArray[Any] | None:
        """Return patterns, shape (n, N, N), in any order; None where they lie in more chunks than can be kept."""
        chunks, places = np.divmod(rows, self._depth)
        needed = dict.fromkeys(chunks.tolist())
        if len(needed) > len(self._chunk_in):
            return None
        for chunk in needed:
            if chunk not in self._slot_of:
                self._keep(chunk, needed)
        slots = np.fromiter((self._slot_of[chunk] for chunk in chunks.tolist()), np.int64, len(rows))
        return self._values.take(slots * self._depth + places, axis=0)

    def _keep(self, chunk: int, needed: dict[int, None]) -> None:
        """Load a chunk in the place of the one that came first, but for those that are needed now."""
        while int(self._chunk_in[self._next]) in needed:
            self._next = (self._next + 1) % len(self._chunk_in)
        slot, first = self._next, chunk * self._depth
        self._slot_of.pop(int(self._chunk_in[slot]), None)
        self._chunk_in[slot] = -1
        last = min(first + self._depth, self._count)
        self._load(first, last, self._values[slot * self._depth : slot * self._depth + last - first])
        self._chunk_in[slot], self._slot_of[chunk] = chunk, slot
        self._next = (slot + 1) % len(self._chunk_in)
