"""Groups cover the scan, are compact, and are the same everywhere."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from ptycho_dist.data.grouping import compact_groups, members, neighbor_groups, pad_groups
from ptycho_dist.data.halving import Parts
from ptycho_dist.errors import ConfigError
from ptycho_dist.types import FloatArray, Groups


def scatter(count: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).uniform(0, 60, (count, 2))


def raster(rows: int, columns: int, step: float = 4.0) -> FloatArray:
    return step * np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(-1, 2)


def spread(positions: FloatArray, groups: Groups) -> float:
    """Mean over patterns of the squared distance to the centre of their group."""
    parts = [positions[members(groups, row)] for row in range(len(groups))]
    return sum(float(((part - part.mean(0)) ** 2).sum()) for part in parts) / len(positions)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 25, 64, 65, 100, 331])
@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_compact_groups_cover_exactly_once_in_as_few_groups_as_can_be(count: int, size: int) -> None:
    for seed in range(5):
        groups = compact_groups(scatter(count), size, (seed,))
        assert sorted(groups.index[groups.valid]) == list(range(count))
        assert len(groups) == math.ceil(count / size)
        assert 1 <= groups.valid.sum(axis=1).min() <= groups.size <= size


def test_compact_groups_cover_when_positions_repeat() -> None:
    groups = compact_groups(np.zeros((20, 2)), 3)
    assert sorted(groups.index[groups.valid]) == list(range(20))


def test_compact_groups_are_much_more_compact_than_random_ones() -> None:
    for positions in (scatter(200), raster(10, 20)):
        shuffled = np.random.default_rng(3).permutation(len(positions))
        random = pad_groups(Parts(shuffled, np.array([len(part) for part in np.array_split(shuffled, 25)])))
        assert spread(positions, compact_groups(positions, 8)) < 0.1 * spread(positions, random)


def test_compact_groups_change_with_the_seed_only() -> None:
    positions = scatter(100)
    first, again, other = (compact_groups(positions, 8, seed) for seed in ((1, 2), (1, 2), (1, 3)))
    assert np.array_equal(first.index, again.index)
    assert np.array_equal(first.valid, again.valid)
    assert not np.array_equal(first.index, other.index)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_groups_are_the_same_in_another_process(hash_seed: str) -> None:
    program = """
import hashlib, numpy as np
from ptycho_dist.data.grouping import compact_groups, neighbor_groups
positions = np.random.default_rng(0).uniform(0, 60, (100, 2))
print(hashlib.sha256(compact_groups(positions, 8, (1,)).index.tobytes()
                     + neighbor_groups(positions, 2).index.tobytes()).hexdigest())
"""
    env = os.environ | {"PYTHONHASHSEED": hash_seed}
    said = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True).stdout
    here = compact_groups(scatter(100), 8, (1,)).index.tobytes() + neighbor_groups(scatter(100), 2).index.tobytes()
    assert said.strip() == hashlib.sha256(here).hexdigest()


@pytest.mark.parametrize("gridsize", [1, 2, 3])
def test_neighbor_groups_hold_the_nearest_and_itself_first(gridsize: int) -> None:
    positions = scatter(50)
    groups = neighbor_groups(positions, gridsize)
    assert groups.index.shape == (50, gridsize**2)
    assert groups.valid.all()
    assert np.array_equal(groups.index[:, 0], np.arange(50))
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    nearest = np.sort(distance, axis=1)[:, : gridsize**2]
    found = np.take_along_axis(distance, groups.index, axis=1)
    assert np.allclose(np.sort(found, axis=1), nearest)


@pytest.mark.parametrize("positions", [scatter(50), raster(5, 10), np.zeros((50, 2))], ids=["scatter", "raster", "one"])
def test_neighbor_groups_of_some_rows_are_those_of_all(positions: FloatArray) -> None:
    rows = np.array([7, 3, 49, 3])
    assert np.array_equal(neighbor_groups(positions, 2, rows).index, neighbor_groups(positions, 2).index[rows])


def test_neighbor_groups_settle_ties_by_the_smaller_index() -> None:
    groups = neighbor_groups(raster(3, 3), 2)
    assert groups.index[4].tolist() == [4, 1, 3, 5]
    assert groups.index[0].tolist() == [0, 1, 3, 4]


def test_neighbor_groups_put_itself_first_when_positions_repeat() -> None:
    groups = neighbor_groups(np.zeros((6, 2)), 2)
    assert groups.index[:, 0].tolist() == list(range(6))
    assert groups.index[5].tolist() == [5, 0, 1, 2]
    many = neighbor_groups(np.zeros((60, 2)), 2).index
    assert many[:, 0].tolist() == list(range(60))
    assert all(len(set(row)) == 4 for row in many)


def test_neighbor_groups_of_the_whole_scan_and_of_more_than_it() -> None:
    assert sorted(neighbor_groups(scatter(4), 2).index[2]) == [0, 1, 2, 3]
    with pytest.raises(ConfigError, match="gridsize = 2 needs 4 patterns a group; the scan has 3"):
        neighbor_groups(scatter(3), 2)
