"""The global batch does not depend on the number of ranks; nothing is dropped or repeated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho_dist.config.schema import DataConfig, TrainingConfig
from ptycho_dist.data.sampler import Chosen, Layout, Split, StepSampler, StepShare, split_patterns
from ptycho_dist.errors import ConfigError
from ptycho_dist.types import FloatArray, IntArray
from tests.support.ranks import rank_context

POSITIONS = np.random.default_rng(0).uniform(0, 60, (53, 2))
WORLDS = (1, 2, 3, 4, 9)
Step = list[tuple[int, ...]]


def layout_of(positions_px: FloatArray) -> Callable[[int], Layout]:
    return lambda _: Layout(positions_px, 0.0)


def configs(gridsize: int | None = None, **training: Any) -> tuple[DataConfig, TrainingConfig]:
    files: dict[str, Any] = {"train_data_file": Path("x"), "output_dir": Path("y")}
    settings = {"batch_size": 3} | files | training
    return DataConfig(group_size=5, gridsize=gridsize), TrainingConfig(**settings)


def split(**training: Any) -> Split:
    return split_patterns(POSITIONS, *configs(**training))


def groups_of(share: StepShare) -> tuple[IntArray, ...]:
    ((number, groups),) = share.parts
    assert number == 0
    return groups


def epoch_shares(rank: int, world: int, epoch: int = 0, **changes: Any) -> list[StepShare]:
    shuffle = changes.pop("shuffle", True)
    sampler = StepSampler(
        layout_of(POSITIONS),
        Chosen.of_one(np.arange(53)),
        configs(**changes),
        rank_context(rank, world),
        shuffle=shuffle,
    )
    sampler.set_epoch(epoch)
    shares = list(sampler)
    assert len(shares) == len(sampler)
    return shares


def global_epoch(world: int, epoch: int = 0, **changes: Any) -> list[Step]:
    """Collect the groups of every step, as all ranks together have them."""
    ranks = [epoch_shares(rank, world, epoch, **changes) for rank in range(world)]
    return [
        [tuple(group) for share in shares if share.weight for group in groups_of(share)]
        for shares in zip(*ranks, strict=True)
    ]  # fmt: skip


@pytest.mark.parametrize("gridsize", [None, 2])
def test_global_batches_are_the_same_for_any_number_of_ranks(gridsize: int | None) -> None:
    for epoch in (0, 1, 5):
        alone = global_epoch(1, epoch, gridsize=gridsize)
        for world in WORLDS:
            assert global_epoch(world, epoch, gridsize=gridsize) == alone


@pytest.mark.parametrize("world", WORLDS)
def test_every_pattern_is_seen_exactly_once_in_each_epoch(world: int) -> None:
    for epoch in range(3):
        steps = global_epoch(world, epoch)
        assert sorted(index for step in steps for group in step for index in group) == list(range(53))
        assert [len(step) for step in steps] == [3, 3, 3, 2]


def test_neighbor_groups_make_one_group_for_each_pattern() -> None:
    steps = global_epoch(2, gridsize=2)
    assert sorted(group[0] for step in steps for group in step) == list(range(53))


@pytest.mark.parametrize("world", WORLDS)
def test_shares_know_the_patterns_of_the_whole_step(world: int) -> None:
    ranks = [epoch_shares(rank, world) for rank in range(world)]
    for shares in zip(*ranks, strict=True):
        total = sum(len(group) for share in shares if share.weight for group in groups_of(share))
        assert {share.n_patterns_global for share in shares} == {total}


def test_idle_rank_keeps_step_with_weight_zero() -> None:
    shares = epoch_shares(3, 4)
    assert [share.weight for share in shares] == [0.0] * 4
    assert all(len(groups_of(share)) == 1 for share in shares)
    last = [epoch_shares(rank, 3)[-1].weight for rank in range(3)]
    assert last == [1.0, 1.0, 0.0]


def test_epochs_and_seeds_differ_and_can_be_had_again() -> None:
    assert global_epoch(1, 3) == global_epoch(1, 3)
    assert global_epoch(1, 3) != global_epoch(1, 4)
    assert global_epoch(1, 3, seed=1) != global_epoch(1, 3)


def test_validation_steps_are_the_same_in_each_epoch() -> None:
    assert global_epoch(2, 0, shuffle=False) == global_epoch(2, 7, shuffle=False)


def test_split_is_disjoint_complete_and_about_as_large_as_asked() -> None:
    found = split(val_fraction=0.3)
    assert sorted([*found.train, *found.validation]) == list(range(53))
    assert 0.2 * 53 < len(found.validation) < 0.45 * 53
    assert not np.array_equal(found.validation, split(val_fraction=0.3, seed=1).validation)
    assert np.array_equal(found.validation, split(val_fraction=0.3).validation)


def test_split_without_validation_keeps_all() -> None:
    found = split()
    assert (found.train.tolist(), found.validation.tolist()) == (list(range(53)), [])


def test_split_takes_rows_between_quantiles_only() -> None:
    found = split(train_rows=(0.0, 0.5), val_fraction=0.2)
    median = np.median(POSITIONS[:, 0])
    chosen = np.concatenate([found.train, found.validation])
    assert sorted(chosen) == np.flatnonzero(POSITIONS[:, 0] <= median).tolist()


def test_split_refuses_when_nothing_is_left_to_train_on() -> None:
    with pytest.raises(ConfigError, match=r"val_fraction = 0\.5 leaves 0 of 3 patterns"):
        split_patterns(POSITIONS[:3], *configs(val_fraction=0.5))


@pytest.mark.parametrize(("patterns", "group_size"), [(1, 1), (7, 8), (25, 8), (101, 16), (387, 5)])
def test_number_of_steps_is_the_same_in_every_epoch(patterns: int, group_size: int) -> None:
    positions = np.random.default_rng(patterns).uniform(0.0, 90.0, (patterns, 2))
    configs = (DataConfig(group_size=group_size), TrainingConfig(train_data_file=Path("s"), output_dir=Path("o")))
    sampler = StepSampler(
        layout_of(positions), Chosen.of_one(np.arange(patterns)), configs, rank_context(0, 1), shuffle=True
    )
    for epoch in range(6):
        sampler.set_epoch(epoch)
        assert len(list(sampler)) == len(sampler)


@pytest.mark.parametrize("settings", [{"group_size": 8}, {"gridsize": 2}])
def test_epoch_has_the_steps_and_patterns_that_the_config_counts(settings: dict[str, int]) -> None:
    positions = np.random.default_rng(1).uniform(0.0, 90.0, (53, 2))
    data = DataConfig(**settings)
    training = TrainingConfig(train_data_file=Path("s"), output_dir=Path("o"), batch_size=3)
    steps = list(
        StepSampler(
            layout_of(positions),
            Chosen.of_one(np.arange(53)),
            (data, training),
            rank_context(0, 1),
            shuffle=True,
        )
    )
    assert len(steps) == -(-data.n_groups(53) // 3)
    assert sum(step.n_patterns_global for step in steps) == data.patterns_in_epoch(53)
    assert max(len(group) for step in steps for group in groups_of(step)) == data.patterns_in_group
