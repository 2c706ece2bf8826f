"""The order of training on a set of scans: a pure function of seed and epoch over all groups of all scans."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from ptycho_dist.config.schema import DataConfig, TrainingConfig
from ptycho_dist.data.group_selection import training_drawing
from ptycho_dist.data.grouping import members
from ptycho_dist.data.sampler import Split, global_order, make_groups, window
from ptycho_dist.data.scan_set import Recent, ScanSet
from ptycho_dist.distributed.sharding import local_slice, shard
from ptycho_dist.errors import ConfigError
from ptycho_dist.types import Groups, IntArray

_VALIDATION_STREAM = 1
_ORDER_STREAM, _GROUPS_STREAM = 2, 3


@dataclass(frozen=True)
class SetShare:
    """What one rank does in one global step on a set.

    Parameters
    ----------
    parts
        For each scan that this rank's groups come from: its number, and the pattern indices of each group; never empty.
    weight
        1.0, or 0.0 when this rank has no share and only keeps step with the others.
    n_patterns_global
        Patterns in the step over all ranks.
    n_patterns_window
        Patterns in all steps whose gradients are added to this one's, itself included.
    """

    parts: tuple[tuple[int, tuple[IntArray, ...]], ...]
    weight: float
    n_patterns_global: int
    n_patterns_window: int


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


class SetSampler(Sampler[SetShare]):
    """Yields this rank's share of every global step of an epoch over a set; groups never mix scans.

    Parameters
    ----------
    scans
        The set; of its scans only positions are read here.
    chosen
        Numbers of the scans to draw from.
    configs
        Settings of groups, batch size and seed.
    place
        This rank and the number of ranks.
    shuffle
        New groups and a new order in each epoch; else always the same.
    start
        Epoch and step of it where an unfinished training goes on; that epoch is drawn from there.
    accum_steps
        Global steps whose gradients are added.
    """

    def __init__(
        self, scans: ScanSet, chosen: IntArray, configs: tuple[DataConfig, TrainingConfig],
        place: tuple[int, int], *, shuffle: bool, start: tuple[int, int] = (0, 0), accum_steps: int = 1,
    ) -> None:  # fmt: skip
        self._scans = scans
        self._data, self._training = configs
        self._rank, self._world = place
        self._shuffle, self._start, self._epoch = shuffle, start, start[0]
        self._accum_steps = accum_steps
        counts = [self._data.n_groups(scans.entries[int(number)].n_patterns) for number in chosen]
        self._scan_of = np.repeat(chosen, counts)
        self._row_of = np.concatenate([np.arange(count) for count in counts])
        self._kept: Recent[Groups] = Recent()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws."""
        self._epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self._scan_of) / self._training.batch_size)

    def __iter__(self) -> Iterator[SetShare]:
        self._kept.clear()
        seed = (self._training.seed, _ORDER_STREAM, self._epoch) if self._shuffle else None
        done = self._start[1] if self._epoch == self._start[0] else 0
        steps = global_order(len(self._scan_of), self._training.batch_size, seed)
        for number in range(done, len(steps)):
            yield self._share(steps[number], window(steps, number, self._accum_steps))

    def _share(self, places: IntArray, in_window: IntArray) -> SetShare:
        """Cut one global step to this rank; an idle rank gets one group of weight 0."""
        sizes = {int(place): len(self._group(int(place))) for place in in_window}
        total = sum(sizes[int(place)] for place in places)
        mine = places[local_slice(shard(len(places), self._rank, self._world))]
        parts: dict[int, list[IntArray]] = {}
        for place in mine if len(mine) else places[:1]:
            parts.setdefault(int(self._scan_of[place]), []).append(self._group(int(place)))
        listed = tuple((number, tuple(groups)) for number, groups in parts.items())
        return SetShare(listed, 1.0 if len(mine) else 0.0, total, sum(sizes.values()))

    def _group(self, place: int) -> IntArray:
        """Pattern indices of one group, by its place among all groups of the set."""
        return members(self._groups(int(self._scan_of[place])), int(self._row_of[place]))

    def _groups(self, number: int) -> Groups:
        if number in self._kept:
            return self._kept.use(number)
        positions = self._scans.scan(number).positions_px
        seed = (self._training.seed, _GROUPS_STREAM, self._epoch if self._shuffle else 0, number)
        drawing = training_drawing(self._data, self._training, shuffle=self._shuffle)
        groups = make_groups(positions, np.arange(len(positions)), drawing, seed)
        self._kept.keep(number, groups)
        return groups
