"""The order in which scans are stored: patterns that are neighbours in the scan lie side by side in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from ptycho_dist.data.formats.ptycho_dist_h5_writer import COPY_ROWS, ScanContent
from ptycho_dist.data.grouping import canonical_order
from ptycho_dist.distributed.sharding import shard
from ptycho_dist.types import IntArray, Shard

_ALIGNED_ROWS = 16
"""Ranks write whole multiples of so many patterns, so that few chunks of a file are shared."""


def in_spatial_order(content: ScanContent, read: Callable[[IntArray], NDArray[Any]], rows: Shard) -> ScanContent:
    """Put a scan in the order of :func:`~ptycho_dist.data.grouping.canonical_order`, which predictions read it in.

    Parameters
    ----------
    content
        The scan as it was measured; its patterns are left alone.
    read
        Reads patterns by their numbers in the measurement.
    rows
        Those of the stored patterns that this rank writes.
    """
    order = canonical_order(content.positions_px)

    def patterns() -> Iterator[NDArray[Any]]:
        for start in range(rows.start, rows.stop, COPY_ROWS):
            yield read(order[start : min(start + COPY_ROWS, rows.stop)])

    return replace(content, patterns=patterns(), positions_px=content.positions_px[order], measured_index=order)


def own_rows(n_patterns: int, rank: int, world: int, multiple: int = _ALIGNED_ROWS) -> Shard:
    """Patterns of a rank: whole multiples of so many, but for the last."""
    part = shard(-(-n_patterns // multiple), rank, world)
    return Shard(rank, world, min(part.start * multiple, n_patterns), min(part.stop * multiple, n_patterns))
