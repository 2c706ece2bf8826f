"""Which patterns share a canvas: compact groups, or nearest neighbours.

Everything here is a pure function of its arguments; the same arguments give
the same groups on every rank and machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from ptycho_dist.config.schema import DataConfig, TrainingConfig
from ptycho_dist.data.halving import Parts, halved
from ptycho_dist.errors import ConfigError
from ptycho_dist.types import FloatArray, Groups, IntArray

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
    return pad_groups(halved(positions_px, group_size, np.random.default_rng(seed)))


def canonical_order(positions_px: FloatArray) -> IntArray:
    """Order of patterns that shards are cut from: neighbours in the scan stay together."""
    return halved(positions_px, _ORDER_GROUP, np.random.default_rng((0,))).order


def neighbor_groups(positions_px: FloatArray, gridsize: int, rows: IntArray | None = None) -> Groups:
    """Group each pattern, or each of some rows, with its nearest neighbours, itself first.

    ``gridsize**2`` patterns a group, one group for each pattern (PtychoPINN's
    meaning of gridsize). Equal distances are settled by the smaller index. A group
    does not depend on which others are asked for.

    Raises
    ------
    ConfigError
        If the scan has fewer patterns than a group needs.
    """
    count, size = len(positions_px), gridsize**2
    if size > count:
        msg = f"data.gridsize = {gridsize} needs {size} patterns a group; the scan has {count}. Use a smaller gridsize."
        raise ConfigError(msg)
    members = nearest(positions_px, size, rows)
    return Groups(members, np.ones_like(members, dtype=np.bool_))


def nearest(positions_px: FloatArray, size: int, rows: IntArray | None = None) -> IntArray:
    """Find for each pattern itself and its nearest neighbours, nearest first, int64, shape (B, size).

    With ``rows``, int64, shape (n,), only for these patterns, shape (n, size): a rank finds those of its own part.
    """
    count = len(positions_px)
    own = np.arange(count) if rows is None else rows
    asked = min(count, size + 8)
    distance, index = cKDTree(positions_px).query(positions_px[own], k=asked)
    distance, index = np.asarray(distance).reshape(len(own), asked), np.asarray(index).reshape(len(own), asked)
    distance = np.hstack([np.full((len(own), 1), -1.0), np.where(index == own[:, None], np.inf, distance)])
    index = np.hstack([own[:, None], index])
    order = np.lexsort((index, distance.round(9)), axis=1)[:, :size]
    return np.asarray(np.take_along_axis(index, order, axis=1).astype(np.int64))


def pad_groups(parts: Parts) -> Groups:
    """Bring neighbourhoods of pattern indices to one width (see :class:`~ptycho_dist.types.Groups`)."""
    sizes = parts.sizes
    valid = np.arange(sizes.max()) < sizes[:, None]
    index = np.repeat(parts.order[np.cumsum(sizes) - sizes][:, None], valid.shape[1], axis=1)
    index[valid] = parts.order
    return Groups(index, valid)


def members(groups: Groups, row: int) -> IntArray:
    """Pattern indices of one group, padding left out."""
    return np.asarray(groups.index[row][groups.valid[row]])


def thinned_groups(positions_px: FloatArray, group_size: int, thinning: int, seed: tuple[int, ...] = (0,)) -> Groups:
    """Cut a scan into groups that spread over ``thinning`` times their share of it; every pattern is in exactly one.

    Blocks of ``thinning`` times ``group_size`` neighbours are shuffled and cut into groups, so that a group of a dense
    scan reaches beyond one illumination, and its patterns constrain each other. The number of groups is that of
    :func:`compact_groups`.

    Parameters
    ----------
    positions_px
        float64, shape (B, 2), (y, x).
    group_size
        Most patterns in a group.
    thinning
        Groups that share a neighbourhood; 1 gives compact groups.
    seed
        Non-negative integers, such as (seed, epoch): another seed gives other groups.
    """
    most = max(1, min(thinning, len(positions_px) // group_size))
    if most == 1:
        return compact_groups(positions_px, group_size, seed)
    rng = np.random.default_rng(seed)
    blocks = sorted(halved(positions_px, group_size * most, rng, whole=True).split(), key=len, reverse=True)
    order = np.concatenate([rng.permutation(block) for block in blocks])
    group = np.arange(len(order)) // group_size
    return pad_groups(Parts(order[np.lexsort((order, group))], np.bincount(group)))


@dataclass(frozen=True)
class Drawing:
    """How groups are drawn.

    Parameters
    ----------
    group_size, gridsize
        As in the data config.
    neighbor_count
        Nearest neighbours that the rest of a group is drawn from; None for the nearest themselves.
    n_groups
        Groups to draw; None for one set of groups that holds all patterns.
    sequential
        Whether the first patterns or groups are taken, not random ones.
    thinning
        Groups that share a neighbourhood of the scan; see :func:`thinned_groups`.
    """

    group_size: int
    gridsize: int | None
    neighbor_count: int | None = None
    n_groups: int | None = None
    sequential: bool = False
    thinning: int = 1

    @classmethod
    def plain(cls, data: DataConfig) -> Drawing:
        """Take every group there is."""
        return cls(data.group_size, data.gridsize)

    @classmethod
    def of_scan(cls, data: DataConfig, positions_px: FloatArray, probe_diameter_px: float) -> Drawing:
        """Take every group there is, spread over enough of the probe."""
        return cls.plain(data).thinned(positions_px, data.group_step * probe_diameter_px)

    def thinned(self, positions_px: FloatArray, least_step_px: float) -> Drawing:
        """Spread compact groups so that the patterns of one are no denser than one in the square of this step."""
        if self.gridsize is not None or len(positions_px) < 2 or least_step_px <= 0:
            return self
        area_px = float(np.prod(np.ptp(positions_px, axis=0)))
        return replace(self, thinning=max(1, round(least_step_px**2 * len(positions_px) / max(area_px, 1.0))))

    @property
    def drawn(self) -> int:
        """Members of a group beside the pattern that it is around (C - 1)."""
        return (self.gridsize or 1) ** 2 - 1

    @property
    def pool(self) -> int:
        """Neighbours that they are drawn from (K)."""
        return self.drawn if self.neighbor_count is None else self.neighbor_count

    def check(self, n_patterns: int) -> None:
        """Check that so many patterns have such groups.

        Raises
        ------
        ConfigError
            If they have not.
        """
        if self.neighbor_count is not None:
            self._check_pool(n_patterns)
        most = -(-n_patterns // self.group_size)
        if self.gridsize is not None:
            most = n_patterns * math.comb(self.pool, self.drawn)
        if self.n_groups is not None and self.n_groups > most:
            more = "raise training.neighbor_count" if self.gridsize else "set data.gridsize and training.neighbor_count"
            msg = (
                f"training.n_groups = {self.n_groups}, but {n_patterns} patterns have {most} different groups; "
                f"expected at most as many. Lower training.n_groups, or {more}."
            )
            raise ConfigError(msg)

    def _check_pool(self, n_patterns: int) -> None:
        if self.gridsize is None or not max(1, self.drawn) <= self.pool < n_patterns:
            need = "data.gridsize" if self.gridsize is None else f"from {max(1, self.drawn)} to {n_patterns - 1}"
            msg = (
                f"training.neighbor_count = {self.neighbor_count} with data.gridsize = {self.gridsize} and "
                f"{n_patterns} patterns; expected {need}. Change training.neighbor_count or data.gridsize."
            )
            raise ConfigError(msg)


def training_drawing(data: DataConfig, training: TrainingConfig, *, shuffle: bool = True) -> Drawing:
    """Read how the groups of a training epoch are drawn; without ``shuffle``, as in validation, every one is taken."""
    if not shuffle:
        return Drawing.plain(data)
    return Drawing(
        data.group_size, data.gridsize, training.neighbor_count, training.n_groups, training.sequential_sampling
    )


def draw_groups(positions_px: FloatArray, drawing: Drawing, seed: tuple[int, ...]) -> Groups:
    """Draw groups: a pure function of its arguments.

    Parameters
    ----------
    positions_px
        float64, shape (B, 2), (y, x).
    drawing
        How.
    seed
        Non-negative integers, such as (seed, epoch).

    Raises
    ------
    ConfigError
        If there are no such groups.
    """
    drawing.check(len(positions_px))
    rng = np.random.default_rng((*seed, 1))
    if drawing.gridsize is None:
        groups = thinned_groups(positions_px, drawing.group_size, drawing.thinning, seed)
        kept = _first_or_random(len(groups), drawing.n_groups or len(groups), rng, drawing)
        return Groups(groups.index[kept], groups.valid[kept])
    if drawing.neighbor_count is None and drawing.n_groups is None:
        return neighbor_groups(positions_px, drawing.gridsize)
    return _around(positions_px, drawing, rng)


def _first_or_random(count: int, wanted: int, rng: np.random.Generator, drawing: Drawing) -> IntArray:
    """Choose some of ``count`` numbers, sorted."""
    if drawing.sequential or wanted == count:
        return np.arange(wanted)
    return np.sort(rng.choice(count, wanted, replace=False))


def _around(positions_px: FloatArray, drawing: Drawing, rng: np.random.Generator) -> Groups:
    """Draw groups around patterns; each has one before any has a second, and no two groups are the same."""
    count = len(positions_px)
    wanted = count if drawing.n_groups is None else drawing.n_groups
    order = np.arange(count) if drawing.sequential else rng.permutation(count)
    centres = np.resize(order, wanted)
    picks = _distinct_picks(centres, drawing, rng)
    rows, place = np.unique(centres, return_inverse=True)
    near = nearest(positions_px, drawing.pool + 1, rows)
    members = np.column_stack([centres, np.take_along_axis(near[place], picks + 1, axis=1)])
    return Groups(members, np.ones_like(members, dtype=np.bool_))


def _distinct_picks(centres: IntArray, drawing: Drawing, rng: np.random.Generator) -> IntArray:
    """Choose C - 1 of K neighbours for each group, other ones where a pattern has several groups."""
    picks = _choose(len(centres), drawing, rng)
    repeated = _repeated(centres, picks)
    while len(repeated):
        picks[repeated] = _choose(len(repeated), drawing, rng)
        repeated = _repeated(centres, picks)
    return picks


def _choose(rows: int, drawing: Drawing, rng: np.random.Generator) -> IntArray:
    shuffled = rng.random((rows, drawing.pool)).argsort(axis=1)
    return np.sort(shuffled[:, : drawing.drawn], axis=1)


def _repeated(centres: IntArray, picks: IntArray) -> IntArray:
    """Find groups that are the same as an earlier one."""
    _, first = np.unique(np.column_stack([centres, picks]), axis=0, return_index=True)
    return np.setdiff1d(np.arange(len(centres)), first)
