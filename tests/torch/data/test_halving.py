"""The halving gives the parts of the plain algorithm, which sorts every part again."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ptycho_dist.data.halving import halved
from ptycho_dist.types import FloatArray, IntArray

GRID = 4.0 * np.stack(np.meshgrid(np.arange(25), np.arange(40), indexing="ij"), -1).reshape(-1, 2)
LAYOUTS = {
    "scattered": np.random.default_rng(0).uniform(0, 60, (1000, 2)),
    "raster": GRID,
    "shuffled raster": np.random.default_rng(1).permutation(GRID),
    "few places": np.random.default_rng(2).integers(0, 6, (1000, 2)).astype(float),
    "one place": np.zeros((1000, 2)),
    "one line": np.arange(2000.0).reshape(1000, 2) * (0.0, 1.0),
}


def plainly_halved(positions_px: FloatArray, most: int, rng: np.random.Generator, whole: bool) -> list[IntArray]:
    """Cut part by part; each is sorted along the side that it is cut across."""
    pending, parts = [np.arange(len(positions_px))], []
    while pending:
        part = pending.pop()
        if len(part) <= most:
            parts.append(part)
            continue
        extent = np.ptp(positions_px[part], axis=0)
        axis = int(extent[1] > extent[0])
        if extent.min() > 0.6 * extent.max() and rng.random() < 0.3:
            axis = 1 - axis
        n_parts = math.ceil(len(part) / most)
        left = n_parts // 2 + (int(rng.integers(2)) if n_parts % 2 else 0)
        cut = left * most if whole else round(len(part) * left / n_parts)
        order = np.argsort(positions_px[part, axis], kind="stable")
        pending += [part[order[cut:]], part[order[:cut]]]
    return parts


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("most", [1, 3, 16, 64])
@pytest.mark.parametrize("whole", [False, True])
def test_parts_and_their_order_are_those_of_the_plain_algorithm(layout: str, most: int, whole: bool) -> None:
    for count in (1, 2, 3, 17, 100, 331, 1000):
        for seed in range(3):
            positions_px = LAYOUTS[layout][:count]
            found = halved(positions_px, most, np.random.default_rng(seed), whole=whole)
            expected = plainly_halved(positions_px, most, np.random.default_rng(seed), whole)
            assert [part.tolist() for part in found.split()] == [part.tolist() for part in expected]


def test_generator_is_left_as_the_plain_algorithm_leaves_it() -> None:
    first, second = np.random.default_rng(5), np.random.default_rng(5)
    halved(GRID, 7, first)
    plainly_halved(GRID, 7, second, False)
    assert first.random() == second.random()
