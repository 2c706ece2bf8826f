"""The order of training: a pure function of seed and epoch, cut into ranks afterwards."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from ptycho_dist.config.schema import DataConfig, TrainingConfig
from ptycho_dist.data.group_selection import Drawing, draw_groups, training_drawing
from ptycho_dist.data.grouping import compact_groups, members
from ptycho_dist.distributed.sharding import local_slice, shard
from ptycho_dist.errors import ConfigError
from ptycho_dist.types import FloatArray, Groups, IntArray

_VALIDATION_STREAM, _SUBSAMPLE_STREAM = 1, 4


@dataclass(frozen=True)
class StepShare:
    """What one rank does in one global step.

    Parameters
    ----------
    groups
        Pattern indices of each group of this rank; never empty.
    weight
        1.0, or 0.0 when this rank has no share and only keeps step with the others.
    n_patterns_global
        Patterns in the step over all ranks.
    n_patterns_window
        Patterns in all steps whose gradients are added to this one's, itself included.
    """

    groups: tuple[IntArray, ...]
    weight: float
    n_patterns_global: int
    n_patterns_window: int


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
    validation = np.sort(np.concatenate([chosen[members(groups, row)] for row in held[:n_held]]))
    train = np.setdiff1d(chosen, validation)
    if len(train) == 0:
        msg = (
            f"training.val_fraction = {training.val_fraction} leaves 0 of {len(chosen)} patterns to train on; expected "
            "at least one group. Lower training.val_fraction or data.group_size."
        )
        raise ConfigError(msg)
    return Split(train, validation)


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


def global_steps(groups: Groups, batch_size: int, seed: tuple[int, ...] | None) -> list[IntArray]:
    """Cut the groups into global steps; shuffled by the seed, or in order without one."""
    return global_order(len(groups), batch_size, seed)


def global_order(n_groups: int, batch_size: int, seed: tuple[int, ...] | None) -> list[IntArray]:
    """Cut so many groups into global steps of group numbers; shuffled by the seed, or in order without one."""
    order = np.arange(n_groups) if seed is None else np.random.default_rng(seed).permutation(n_groups)
    return [order[start : start + batch_size] for start in range(0, n_groups, batch_size)]


def window(steps: list[IntArray], number: int, accum_steps: int) -> IntArray:
    """Group numbers of all global steps whose gradients are added to those of one step, itself included."""
    first = number - number % accum_steps
    return np.concatenate(steps[first : first + accum_steps])


def share_of_step(groups: Groups, rows: IntArray, place: tuple[int, int], in_window: IntArray) -> StepShare:
    """Cut the groups of one global step to one rank; an idle rank gets one group of weight 0."""
    total, total_in_window = (int(groups.valid[some].sum()) for some in (rows, in_window))
    rank, world = place
    mine = rows[local_slice(shard(len(rows), rank, world))]
    weight = 1.0 if len(mine) else 0.0
    chosen = mine if len(mine) else rows[:1]
    return StepShare(tuple(members(groups, int(row)) for row in chosen), weight, total, total_in_window)


class StepSampler(Sampler[StepShare]):
    """Yields this rank's share of every global step of an epoch.

    Parameters
    ----------
    positions_px
        float64, shape (B, 2), of the whole scan.
    chosen
        Patterns to draw from.
    data, training
        Settings of groups, batch size and seed.
    rank, world
        Whose share.
    shuffle
        New groups and a new order in each epoch, as the training settings draw them; else always the same plain ones.
    start
        Epoch and step of it where an unfinished training goes on; that epoch is drawn from there.
    accum_steps
        Global steps whose gradients are added.
    """

    def __init__(
        self, positions_px: FloatArray, chosen: IntArray, configs: tuple[DataConfig, TrainingConfig],
        place: tuple[int, int], *, shuffle: bool, start: tuple[int, int] = (0, 0), accum_steps: int = 1,
    ) -> None:  # fmt: skip
        self._positions_px, self._chosen = positions_px, chosen
        self._data, self._training = configs
        self._place = place
        self._shuffle, self._accum_steps = shuffle, accum_steps
        self._start = start
        self._epoch = start[0]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws."""
        self._epoch = epoch

    def __len__(self) -> int:
        count = self._data.n_groups(len(self._chosen), self._training.n_groups if self._shuffle else None)
        return math.ceil(count / self._training.batch_size)

    def __iter__(self) -> Iterator[StepShare]:
        groups = self._groups()
        seed = (self._training.seed, 2, self._epoch) if self._shuffle else None
        done = self._start[1] if self._epoch == self._start[0] else 0
        steps = global_steps(groups, self._training.batch_size, seed)
        for number in range(done, len(steps)):
            yield share_of_step(groups, steps[number], self._place, window(steps, number, self._accum_steps))

    def _groups(self) -> Groups:
        epoch = self._epoch if self._shuffle else 0
        drawing = training_drawing(self._data, self._training, shuffle=self._shuffle)
        return make_groups(self._positions_px, self._chosen, drawing, (self._training.seed, 3, epoch))
