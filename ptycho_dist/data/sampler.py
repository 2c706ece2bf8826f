"""The order of training: a pure function of seed and epoch, cut into ranks afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from ptycho_dist.config.schema import DataConfig, TrainingConfig
from ptycho_dist.data.grouping import Drawing, compact_groups, draw_groups, members, training_drawing
from ptycho_dist.data.scan_set import Recent
from ptycho_dist.distributed.sharding import local_slice, shard
from ptycho_dist.errors import ConfigError
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.types import FloatArray, Groups, IntArray

_VALIDATION_STREAM, _ORDER_STREAM, _GROUPS_STREAM, _SUBSAMPLE_STREAM = 1, 2, 3, 4


@dataclass(frozen=True)
class StepShare:
    """What one rank does in one global step.

    Parameters
    ----------
    parts
        For each scan that this rank's groups come from: its number, and the pattern indices of each group; never empty.
    weight
        1.0, or 0.0 when this rank has no share and only joins the collectives.
    n_patterns_global
        Patterns in the step over all ranks.
    n_patterns_accumulated
        Patterns in all steps whose gradients are added to this one's, itself included.
    """

    parts: tuple[tuple[int, tuple[IntArray, ...]], ...]
    weight: float
    n_patterns_global: int
    n_patterns_accumulated: int


@dataclass(frozen=True)
class Chosen:
    """Patterns that an epoch is drawn from.

    Parameters
    ----------
    scans, n_patterns
        Numbers of the scans, and how many patterns of each; int64, of one length.
    rows
        Which patterns of a single scan; None for all patterns of the scans of a set.
    """

    scans: IntArray
    n_patterns: IntArray
    rows: IntArray | None = None

    @classmethod
    def of_one(cls, rows: IntArray) -> Chosen:
        """Choose some patterns of a single scan."""
        return cls(np.zeros(1, np.int64), np.array([len(rows)]), rows)


@dataclass(frozen=True)
class Layout:
    """Positions of the patterns of a scan, float64, shape (B, 2), and how large the probe is there; in pixels."""

    positions_px: FloatArray
    probe_diameter_px: float


@dataclass(frozen=True)
class Split:
    """Numbers of patterns, or of scans, to train on and to validate on (disjoint, sorted)."""

    train: IntArray
    validation: IntArray


def rows_between(positions_px: FloatArray, quantiles: tuple[float, float]) -> NDArray[np.bool_]:
    """Tell which patterns lie between two quantiles of y (see ``training.train_rows``)."""
    y = positions_px[:, 0]
    low, high = np.quantile(y, quantiles)
    return np.asarray((y >= low) & (y <= high))


def split_patterns(positions_px: FloatArray, data: DataConfig, training: TrainingConfig) -> Split:
    """Select the training rows and the subsample, and hold whole groups back for validation.

    Raises
    ------
    ConfigError
        If no pattern is left to train on.
    """
    chosen = subsample(np.flatnonzero(rows_between(positions_px, training.train_rows)), training)
    if training.val_fraction == 0:
        return Split(chosen, np.empty(0, np.int64))
    groups = compact_groups(positions_px[chosen], data.group_size, (training.seed, _VALIDATION_STREAM))
    held = np.random.default_rng((training.seed, _VALIDATION_STREAM)).permutation(len(groups))
    n_held = math.ceil(training.val_fraction * len(groups))
    validation = np.sort(chosen[groups.index[held[:n_held]][groups.valid[held[:n_held]]]])
    train = np.setdiff1d(chosen, validation)
    if len(train) == 0:
        msg = (
            f"training.val_fraction = {training.val_fraction} leaves 0 of {len(chosen)} patterns to train on; expected "
            "at least one group. Lower training.val_fraction or data.group_size."
        )
        raise ConfigError(msg)
    return Split(train, validation)


def split_scans(n_scans: int, training: TrainingConfig) -> Split:
    """Hold whole scans back for validation, so that it measures scans that were not seen.

    Raises
    ------
    ConfigError
        If no scan is left to train on.
    """
    order = np.random.default_rng((training.seed, _VALIDATION_STREAM)).permutation(n_scans)
    n_held = math.ceil(training.val_fraction * n_scans) if training.val_fraction else 0
    if n_held >= n_scans:
        msg = (
            f"training.val_fraction = {training.val_fraction} leaves 0 of {n_scans} scans to train on; expected at "
            "least one. Lower training.val_fraction, or make a larger set."
        )
        raise ConfigError(msg)
    return Split(np.sort(order[n_held:]), np.sort(order[:n_held]))


def subsample(chosen: IntArray, training: TrainingConfig) -> IntArray:
    """Keep ``training.n_subsample`` of the chosen patterns: random ones, or the first of them; sorted.

    Raises
    ------
    ConfigError
        If there are fewer.
    """
    count = training.n_subsample
    if count is None:
        return chosen
    if count > len(chosen):
        msg = (
            f"training.n_subsample = {count}, but only {len(chosen)} patterns can be trained on; expected at most as "
            "many. Lower training.n_subsample, or widen training.train_rows."
        )
        raise ConfigError(msg)
    if training.sequential_sampling:
        return chosen[:count]
    seed = training.seed if training.subsample_seed is None else training.subsample_seed
    return np.sort(np.random.default_rng((seed, _SUBSAMPLE_STREAM)).choice(chosen, count, replace=False))


def make_groups(positions_px: FloatArray, chosen: IntArray, drawing: Drawing, seed: tuple[int, ...]) -> Groups:
    """Group the chosen patterns; indices refer to the whole scan."""
    local = draw_groups(positions_px[chosen], drawing, seed)
    return Groups(chosen[local.index], local.valid)


def global_steps(n_groups: int, batch_size: int, seed: tuple[int, ...] | None) -> list[IntArray]:
    """Cut so many groups into global steps of group numbers; shuffled by the seed, or in order without one."""
    order = np.arange(n_groups) if seed is None else np.random.default_rng(seed).permutation(n_groups)
    return [order[start : start + batch_size] for start in range(0, n_groups, batch_size)]


class StepSampler(Sampler[StepShare]):
    """Yields this rank's share of every global step of an epoch; groups never mix scans.

    Parameters
    ----------
    layout_of
        Gives the layout of a scan by its number.
    chosen
        Patterns to draw from.
    configs
        Settings of groups, batch size and seed.
    context
        Place of this rank.
    shuffle
        New groups and a new order in each epoch, as the training settings draw them; else always the same plain ones.
    start
        Epoch and step of it where a training resumes; that epoch is drawn from there.
    accum_steps
        Global steps whose gradients are added.
    """

    def __init__(
        self,
        layout_of: Callable[[int], Layout],
        chosen: Chosen,
        configs: tuple[DataConfig, TrainingConfig],
        context: RankContext,
        *,
        shuffle: bool,
        start: tuple[int, int] = (0, 0),
        accum_steps: int = 1,
    ) -> None:
        self._layout_of, self._chosen = layout_of, chosen
        self._data, self._training = configs
        self._context, self._shuffle, self._accum_steps = context, shuffle, accum_steps
        self._start, self._epoch = start, start[0]
        n_groups = self._training.n_groups if shuffle else None
        counts = [self._data.n_groups(int(count), n_groups) for count in chosen.n_patterns]
        self._scan_of = np.repeat(chosen.scans, counts)
        self._row_of = np.concatenate([np.arange(count) for count in counts])
        self._kept: Recent[Groups] = Recent()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws."""
        self._epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self._scan_of) / self._training.batch_size)

    def __iter__(self) -> Iterator[StepShare]:
        self._kept.clear()
        seed = (self._training.seed, _ORDER_STREAM, self._epoch) if self._shuffle else None
        done = self._start[1] if self._epoch == self._start[0] else 0
        steps = global_steps(len(self._scan_of), self._training.batch_size, seed)
        for number in range(done, len(steps)):
            first = number - number % self._accum_steps
            yield self._share(steps[number], np.concatenate(steps[first : first + self._accum_steps]))

    def _share(self, places: IntArray, in_window: IntArray) -> StepShare:
        """Cut the groups of one global step to this rank; an idle rank gets one group of weight 0."""
        mine = places[local_slice(shard(len(places), self._context.rank, self._context.world))]
        parts: dict[int, list[IntArray]] = {}
        for place in mine if len(mine) else places[:1]:
            number = int(self._scan_of[place])
            parts.setdefault(number, []).append(members(self._groups(number), int(self._row_of[place])))
        listed = tuple((number, tuple(groups)) for number, groups in parts.items())
        return StepShare(listed, 1.0 if len(mine) else 0.0, self._count(places), self._count(in_window))

    def _count(self, places: IntArray) -> int:
        """Count the patterns of some groups."""
        scans, rows = self._scan_of[places], self._row_of[places]
        return sum(int(self._groups(int(one)).valid[rows[scans == one]].sum()) for one in np.unique(scans))

    def _groups(self, number: int) -> Groups:
        """Draw the groups of one scan in this epoch."""
        if number in self._kept:
            return self._kept.use(number)
        layout, rows = self._layout_of(number), self._chosen.rows
        positions_px = layout.positions_px
        seed: tuple[int, ...] = (self._training.seed, _GROUPS_STREAM, self._epoch if self._shuffle else 0)
        if rows is None:
            rows, seed = np.arange(len(positions_px)), (*seed, number)
        drawing = training_drawing(self._data, self._training, shuffle=self._shuffle)
        drawing = drawing.thinned(positions_px[rows], self._data.group_step * layout.probe_diameter_px)
        groups = make_groups(positions_px, rows, drawing, seed)
        self._kept.keep(number, groups)
        return groups
