"""Which patterns are updated together: pure functions of the seed and the iteration."""

from __future__ import annotations

import numpy as np

from ptycho_dist.distributed.sharding import shards
from ptycho_dist.types import IntArray

_STREAM = 0x5EF1


def batches(n_patterns: int, batch_size: int, seed: int, iteration: int) -> list[IntArray]:
    """Cut the patterns of one iteration into batches whose members lie far apart in the scan.

    The scan is cut into ``batch_size`` contiguous parts, each in random order, and a
    batch takes one pattern of each. So patterns of a batch hardly overlap, and ranks that
    own contiguous shards have equal work in every batch.

    Parameters
    ----------
    n_patterns, batch_size
        Patterns in the scan, and most of them in a batch.
    seed, iteration
        What the random order depends on.

    Returns
    -------
    list of ndarray, int64
        Pattern numbers, ascending in each batch; every pattern is in exactly one batch.
    """
    random = np.random.default_rng((_STREAM, seed, iteration))
    parts = [part for part in shards(n_patterns, batch_size) if len(part)]
    orders = [part.start + random.permutation(len(part)) for part in parts]
    return [
        np.array([order[place] for order in orders if place < len(order)], np.int64) for place in range(len(orders[0]))
    ]
