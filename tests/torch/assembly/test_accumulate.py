"""Sums that do not depend on order, batches or shards."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ptycho_dist.assembly.accumulate import Canvas, FixedPointSum, fraction_bits, normalise
from ptycho_dist.errors import PhysicsError, ShardError
from ptycho_dist.physics.patches import place

N, COUNT = 6, 40
RNG = np.random.default_rng(0)
POSITIONS = RNG.uniform(-10, 15, (COUNT, 2))
PATCHES = torch.from_numpy(RNG.normal(size=(COUNT, N, N)) + 1j * RNG.normal(size=(COUNT, N, N)))
WEIGHT = torch.from_numpy(RNG.uniform(0.001, 1.001, (N, N)))
CANVAS = Canvas.around(POSITIONS, N)
BITS = fraction_bits(COUNT)


def total(*batches: np.ndarray, patches: torch.Tensor = PATCHES) -> dict[str, np.ndarray]:
    found = FixedPointSum(CANVAS, BITS)
    for rows in batches:
        found.add(patches[rows], WEIGHT, torch.from_numpy(POSITIONS[rows]))
    return found.arrays()


def test_sum_has_the_same_bits_in_any_order_and_any_batches() -> None:
    expected = total(np.arange(COUNT))
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(COUNT)
        found = total(*np.array_split(order, seed + 1))
        for name, array in expected.items():
            assert array.tobytes() == found[name].tobytes()


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_sum_has_the_same_bits_when_tiles_of_shards_are_added(parts: int) -> None:
    whole = {name: np.zeros(CANVAS.shape, np.int64) for name in ("real", "imag", "weight", "count")}
    for rows in np.array_split(np.arange(COUNT), parts):
        tile = Canvas.around(POSITIONS[rows], N)
        shard = FixedPointSum(tile, BITS)
        shard.add(PATCHES[rows], WEIGHT, torch.from_numpy(POSITIONS[rows]))
        top, left = tile.origin_px[0] - CANVAS.origin_px[0], tile.origin_px[1] - CANVAS.origin_px[1]
        for name, array in shard.arrays().items():
            whole[name][top : top + tile.shape[0], left : left + tile.shape[1]] += array
    for name, array in total(np.arange(COUNT)).items():
        assert np.array_equal(array, whole[name]), name


def test_sum_agrees_with_place_and_counts_patches() -> None:
    corners = torch.from_numpy(POSITIONS - np.array(CANVAS.origin_px))
    sums = total(np.arange(COUNT))
    exact = place(PATCHES * WEIGHT, corners, CANVAS.shape).numpy()
    assert np.allclose((sums["real"] + 1j * sums["imag"]) / 2.0**BITS, exact, atol=1e-10)
    weights = place(WEIGHT.expand(COUNT, N, N).to(torch.complex128), corners, CANVAS.shape).real.numpy()
    assert np.allclose(sums["weight"] / 2.0**BITS, weights, atol=1e-10)
    assert sums["count"].sum() == COUNT * (N + 1) ** 2


def test_normalise_gives_the_mean_and_one_where_nothing_lies() -> None:
    same = torch.full_like(PATCHES, 0.5 - 2j)
    sums = total(np.arange(COUNT), patches=same)
    mean = normalise(sums["real"], sums["imag"], sums["weight"])
    covered = sums["weight"] > 0
    assert mean.dtype == np.complex64
    assert np.allclose(mean[covered], 0.5 - 2j, atol=1e-5)
    assert (~covered).any()
    assert set(mean[~covered]) == {1}


@pytest.mark.parametrize("value", [1024.0, float("nan"), float("inf"), 1j * 2000])
def test_add_refuses_what_the_sum_cannot_hold(value: complex) -> None:
    wild = PATCHES.clone()
    wild[3, 2, 1] = value
    with pytest.raises(ShardError, match=r"a predicted patch reaches .*learning_rate"):
        total(np.arange(COUNT), patches=wild)


def test_add_refuses_a_patch_outside_the_tile() -> None:
    with pytest.raises(PhysicsError, match="leaves the canvas"):
        FixedPointSum(CANVAS, BITS).add(PATCHES[:1], WEIGHT, torch.from_numpy(POSITIONS[:1] + 100))


@pytest.mark.parametrize("count", [1, 2, 1000, 160_000, 10**9])
def test_fraction_bits_leave_room_for_all_patches_on_one_pixel(count: int) -> None:
    bits = fraction_bits(count)
    assert 20 < bits <= 40
    assert count * 2**10 * 2**bits < 2**63


def test_largest_patches_on_one_pixel_do_not_overflow() -> None:
    found = FixedPointSum(Canvas((0, 0), (2, 2)), fraction_bits(4096))
    patches = torch.full((4096, 1, 1), 1023.0 + 0j, dtype=torch.complex128)
    found.add(patches, torch.ones(1, 1), torch.zeros(4096, 2, dtype=torch.float64))
    assert found.arrays()["real"][0, 0] == 4096 * 1023 * 2**found.bits


def test_canvas_around_holds_every_frame() -> None:
    assert Canvas.around(np.array([[-0.5, 3.0], [2.25, 3.75]]), 4) == Canvas((-1, 3), (3 + 4 + 1, 0 + 4 + 1))
