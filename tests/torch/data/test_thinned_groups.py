"""Groups of a dense scan reach beyond one illumination."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ptycho_dist.config.schema import DataConfig
from ptycho_dist.data.grouping import Drawing, draw_groups, members, thinned_groups

RASTER = np.stack(np.meshgrid(np.arange(40.0), np.arange(25.0), indexing="ij"), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize(
    ("count", "size", "thinning"), [(1000, 16, 4), (1000, 16, 7), (997, 8, 3), (40, 16, 9), (5, 16, 2)]
)
def test_thinned_groups_hold_every_pattern_once_in_as_few_groups_as_compact_ones(
    count: int, size: int, thinning: int
) -> None:
    groups = thinned_groups(RASTER[:count], size, thinning, (3, 1))
    assert len(groups) == math.ceil(count / size)
    assert sorted(groups.index[groups.valid].tolist()) == list(range(count))


def test_thinned_groups_reach_as_much_further_as_they_are_thinner() -> None:
    compact, thin = (thinned_groups(RASTER, 16, thinning) for thinning in (1, 9))
    reach = [
        np.median([np.ptp(RASTER[members(groups, row)], axis=0).max() for row in range(len(groups))])
        for groups in (compact, thin)
    ]
    assert 2.0 < reach[1] / reach[0] < 5.0


def test_thinned_groups_are_other_ones_with_another_seed_and_the_same_with_the_same() -> None:
    first, again, other = (thinned_groups(RASTER, 16, 4, (0, epoch)) for epoch in (1, 1, 2))
    assert np.array_equal(first.index, again.index)
    assert not np.array_equal(first.index, other.index)


@pytest.mark.parametrize(("step_px", "expected"), [(0.0, 1), (1.0, 1), (2.0, 4), (3.0, 9)])
def test_drawing_is_thinned_to_a_least_step(step_px: float, expected: int) -> None:
    assert Drawing.plain(DataConfig()).thinned(RASTER, step_px).thinning == pytest.approx(expected, abs=1)


def test_drawing_of_nearest_neighbours_is_never_thinned() -> None:
    drawing = Drawing.plain(DataConfig(gridsize=2)).thinned(RASTER, 5.0)
    assert drawing.thinning == 1
    assert draw_groups(RASTER, drawing, (0,)).index.shape == (1000, 4)
