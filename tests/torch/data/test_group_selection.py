"""Groups of an epoch: some, all, or more than there are patterns; and the patterns that are trained on."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho_dist.config.schema import DataConfig, TrainingConfig
from ptycho_dist.data.grouping import Drawing, compact_groups, draw_groups, nearest, neighbor_groups
from ptycho_dist.data.sampler import Chosen, Layout, StepSampler, split_patterns, subsample
from ptycho_dist.errors import ConfigError
from ptycho_dist.factory.training import create_training_payload
from ptycho_dist.types import FloatArray, Groups
from tests.support.ranks import rank_context
from tests.support.runs import simulate_tiny

POSITIONS = np.random.default_rng(0).uniform(0.0, 60.0, (40, 2))


def layout_of(positions_px: FloatArray) -> Callable[[int], Layout]:
    return lambda _: Layout(positions_px, 0.0)


def training(**settings: Any) -> TrainingConfig:
    return TrainingConfig(train_data_file=Path("s"), output_dir=Path("o"), **settings)


def listed(groups: Groups) -> list[tuple[int, ...]]:
    return [tuple(row) for row in groups.index]


def test_plain_drawing_gives_the_plain_groups() -> None:
    for data, expected in (
        (DataConfig(gridsize=2), neighbor_groups(POSITIONS, 2)),
        (DataConfig(group_size=5), compact_groups(POSITIONS, 5, (3, 1))),
    ):
        assert listed(draw_groups(POSITIONS, Drawing.plain(data), (3, 1))) == listed(expected)


@pytest.mark.parametrize("pool", [3, 6, 10])
def test_members_are_drawn_from_the_nearest_neighbours(pool: int) -> None:
    groups = draw_groups(POSITIONS, Drawing(8, 2, neighbor_count=pool), (0,))
    near = nearest(POSITIONS, pool + 1)
    assert sorted(groups.index[:, 0]) == list(range(40))
    for row in groups.index:
        assert len(set(row)) == 4
        assert set(row) <= set(near[row[0]])
    plain = {frozenset(row) for row in neighbor_groups(POSITIONS, 2).index}
    assert ({frozenset(row) for row in groups.index} == plain) == (pool == 3)


def test_oversampling_gives_different_groups_around_each_pattern_as_often_as_any_other() -> None:
    groups = draw_groups(POSITIONS, Drawing(8, 2, neighbor_count=6, n_groups=100), (0,))
    assert len(groups) == 100
    assert len({(row[0], frozenset(row)) for row in groups.index}) == 100
    assert set(np.bincount(groups.index[:, 0])) == {2, 3}


def test_every_group_that_there_is_can_be_drawn() -> None:
    most = 40 * math.comb(5, 3)
    groups = draw_groups(POSITIONS, Drawing(8, 2, neighbor_count=5, n_groups=most), (0,))
    assert len({(row[0], frozenset(row)) for row in groups.index}) == most
    with pytest.raises(ConfigError, match=f"n_groups = {most + 1}, but 40 patterns have {most} different groups"):
        draw_groups(POSITIONS, Drawing(8, 2, neighbor_count=5, n_groups=most + 1), (0,))


def test_drawing_is_a_function_of_the_seed() -> None:
    drawing = Drawing(8, 2, neighbor_count=6, n_groups=30)
    one, same, other = (listed(draw_groups(POSITIONS, drawing, seed)) for seed in ((1, 2), (1, 2), (1, 3)))
    assert one == same
    assert one != other


def test_some_compact_groups_are_compact_groups() -> None:
    every = listed(compact_groups(POSITIONS, 4, (5,)))
    some = listed(draw_groups(POSITIONS, Drawing(4, None, n_groups=3), (5,)))
    assert len(some) == 3
    assert set(some) < set(every)
    assert listed(draw_groups(POSITIONS, Drawing(4, None, n_groups=3, sequential=True), (5,))) == every[:3]


def test_sequential_groups_are_around_the_first_patterns() -> None:
    groups = draw_groups(POSITIONS, Drawing(8, 2, n_groups=7, sequential=True), (0,))
    assert list(groups.index[:, 0]) == list(range(7))


def test_subsample_takes_random_patterns_by_its_own_seed_or_the_first() -> None:
    chosen = np.arange(10, 50)
    drawn = [subsample(chosen, training(n_subsample=12, subsample_seed=seed)) for seed in (1, 1, 2)]
    assert [len(set(one)) for one in drawn] == [12] * 3
    assert list(drawn[0]) == sorted(drawn[0])
    assert list(drawn[0]) == list(drawn[1]) != list(drawn[2])
    assert list(subsample(chosen, training(n_subsample=12, seed=9))) != list(
        subsample(chosen, training(n_subsample=12, seed=8))
    )
    assert list(subsample(chosen, training(n_subsample=12, sequential_sampling=True))) == list(range(10, 22))
    with pytest.raises(ConfigError, match="n_subsample = 41, but only 40 patterns"):
        subsample(chosen, training(n_subsample=41))


def test_only_the_subsample_is_trained_on_and_validated() -> None:
    settings = training(n_subsample=20, val_fraction=0.25)
    split = split_patterns(POSITIONS, DataConfig(group_size=4), settings)
    assert len(split.train) + len(split.validation) == 20
    assert not set(split.train) & set(split.validation)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_epoch_has_the_groups_asked_for_and_others_in_the_next_on_any_number_of_ranks(world: int) -> None:
    data, settings = DataConfig(gridsize=2), training(n_groups=50, neighbor_count=6, batch_size=8)
    every = Chosen.of_one(np.arange(40))

    def epoch(number: int) -> list[tuple[int, ...]]:
        samplers = [
            StepSampler(layout_of(POSITIONS), every, (data, settings), rank_context(rank, world), shuffle=True)
            for rank in range(world)
        ]
        for sampler in samplers:
            sampler.set_epoch(number)
        assert {len(list(sampler)) for sampler in samplers} == {math.ceil(50 / 8)}
        steps = zip(*samplers, strict=True)
        return [tuple(group) for step in steps for share in step if share.weight for group in share.parts[0][1]]

    first, second = epoch(0), epoch(1)
    alone = [
        tuple(g)
        for s in StepSampler(layout_of(POSITIONS), every, (data, settings), rank_context(0, 1), shuffle=True)
        for g in s.parts[0][1]
    ]
    assert first == alone
    assert len(first) == len(second) == 50
    assert first != second


def test_validation_sees_every_group_once() -> None:
    data, settings = DataConfig(gridsize=2), training(n_groups=3, neighbor_count=6)
    sampler = StepSampler(
        layout_of(POSITIONS),
        Chosen.of_one(np.arange(40)),
        (data, settings),
        rank_context(0, 1),
        shuffle=False,
    )
    seen = [tuple(group) for share in sampler for group in share.parts[0][1]]
    assert seen == listed(neighbor_groups(POSITIONS, 2))
    assert len(sampler) == 20


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"neighbor_count": 4}, "expected data.gridsize"),
        ({"neighbor_count": 2, "gridsize": 2}, "expected from 3 to 24"),
        ({"neighbor_count": 25, "gridsize": 2}, "expected from 3 to 24"),
        ({"n_groups": 26, "gridsize": 2}, "have 25 different groups"),
        ({"n_groups": 8, "group_size": 4}, "have 7 different groups"),
    ],
)
def test_payload_is_refused_when_the_scan_has_no_such_groups(
    tiny_path: Path, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        create_training_payload(tiny_path, tmp_path, {"accelerator": "cpu"} | settings)


def test_one_pattern_a_group_needs_no_neighbours(tmp_path: Path) -> None:
    scan = simulate_tiny(tmp_path / "s.h5", n_patterns=9)
    payload = create_training_payload(scan, tmp_path, {"accelerator": "cpu", "gridsize": 1, "n_groups": 5})
    assert payload.training_config.n_groups == 5
    assert listed(draw_groups(POSITIONS, Drawing(8, 1, n_groups=5, sequential=True), (0,))) == [(i,) for i in range(5)]
