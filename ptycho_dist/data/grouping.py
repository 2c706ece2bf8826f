"""Which patterns share a canvas: compact groups, or nearest neighbours.

Everything here is a pure function of its arguments; the same arguments give
the same groups on every rank and machine.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial import cKDTree

from ptycho_dist.errors import ConfigError
from ptycho_dist.types import FloatArray, Groups, IntArray

_AXIS_FLIP_CHANCE = 0.3
_NEARLY_SQUARE = 0.6
_ORDER_GROUP = 64


def compact_groups(positions_px: FloatArray, group_size: int, seed: tuple[int, ...] = (0,)) -> Groups:
    """Cut a scan into compact groups; every pattern is in exactly one.

    The scan is halved along its longer side again and again (a k-d tree) until
    a part holds at most ``group_size`` patterns. Where the choice is free (side
    lengths nearly equal, an odd number of parts) the seed decides, so that
    another seed gives other groups and every overlap is seen in training. The
    number of groups is always ceil(B / group_size): a half of k parts holds at
    most k * group_size patterns.

    Parameters
    ----------
    positions_px
        float64, shape (B, 2), (y, x).
    group_size
        Most patterns in a group.
    seed
        Non-negative integers, such as (seed, epoch).
    """
    rng = np.random.default_rng(seed)
    pending = [np.arange(len(positions_px), dtype=np.int64)]
    parts: list[IntArray] = []
    while pending:
        part = pending.pop()
        if len(part) <= group_size:
            parts.append(part)
        else:
            pending.extend(reversed(_halve(part, positions_px[part], group_size, rng)))
    return pad_groups(parts)


def canonical_order(positions_px: FloatArray) -> IntArray:
    """Order of patterns that shards are cut from: neighbours in the scan stay together."""
    groups = compact_groups(positions_px, _ORDER_GROUP)
    return groups.index[groups.valid]


def neighbor_groups(positions_px: FloatArray, gridsize: int) -> Groups:
    """Group each pattern with its nearest neighbours, itself first.

    ``gridsize**2`` patterns a group, one group for each pattern (PtychoPINN's
    meaning of gridsize). Equal distances are settled by the smaller index.

    Raises
    ------
    ConfigError
        If the scan has fewer patterns than a group needs.
    """
    count, size = len(positions_px), gridsize**2
    if size > count:
        msg = f"data.gridsize = {gridsize} needs {size} patterns a group; the scan has {count}. Use a smaller gridsize."
        raise ConfigError(msg)
    members = nearest(positions_px, size)
    return Groups(members, np.ones_like(members, dtype=np.bool_))


def nearest(positions_px: FloatArray, size: int) -> IntArray:
    """Find for each pattern itself and its nearest neighbours, nearest first, int64, shape (B, size)."""
    count = len(positions_px)
    asked = min(count, size + 8)
    distance, index = cKDTree(positions_px).query(positions_px, k=asked)
    distance, index = np.asarray(distance).reshape(count, asked), np.asarray(index).reshape(count, asked)
    own = np.arange(count)[:, None]
    distance = np.hstack([np.full((count, 1), -1.0), np.where(index == own, np.inf, distance)])
    index = np.hstack([own, index])
    order = np.lexsort((index, distance.round(9)), axis=1)[:, :size]
    return np.asarray(np.take_along_axis(index, order, axis=1).astype(np.int64))


def pad_groups(parts: list[IntArray]) -> Groups:
    """Bring lists of pattern indices to one width (see :class:`~ptycho_dist.types.Groups`)."""
    sizes = np.array([len(part) for part in parts])
    valid = np.arange(sizes.max()) < sizes[:, None]
    index = np.repeat(np.array([part[0] for part in parts])[:, None], valid.shape[1], axis=1)
    index[valid] = np.concatenate(parts)
    return Groups(index, valid)


def members(groups: Groups, row: int) -> IntArray:
    """Pattern indices of one group, padding left out."""
    return np.asarray(groups.index[row][groups.valid[row]])


def _halve(part: IntArray, positions: FloatArray, group_size: int, rng: np.random.Generator) -> list[IntArray]:
    extent = np.ptp(positions, axis=0)
    axis = int(extent[1] > extent[0])
    if extent.min() > _NEARLY_SQUARE * extent.max() and rng.random() < _AXIS_FLIP_CHANCE:
        axis = 1 - axis
    n_parts = math.ceil(len(part) / group_size)
    left = n_parts // 2 + (int(rng.integers(2)) if n_parts % 2 and n_parts > 1 else 0)
    cut = round(len(part) * left / n_parts)
    order = np.argsort(positions[:, axis], kind="stable")
    return [part[order[:cut]], part[order[cut:]]]
