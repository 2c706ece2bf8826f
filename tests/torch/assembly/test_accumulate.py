"""Sums that do not depend on order, batches or shards."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ptycho_dist.assembly.accumulate import (
    NAMES,
    Canvas,
    FixedPointSum,
    disagreement,
    fraction_bits,
    normalise,
)
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
    whole = {name: np.zeros(CANVAS.shape, np.int64) for name in (*NAMES, "count")}
    for rows in np.array_split(np.arange(COUNT), parts):
        tile = Canvas.around(POSITIONS[rows], N)
        shard = FixedPointSum(tile, BITS)
        shard.add(PATCHES[rows], WEIGHT, torch.from_numpy(POSITIONS[rows]))
        top, left = tile.corner[0] - CANVAS.corner[0], tile.corner[1] - CANVAS.corner[1]
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


def test_disagreement_is_the_deviation_between_patches_that_share_a_pixel() -> None:
    values = np.array([1.0 + 0.2j, 1.1 - 0.1j, 0.8 + 0.0j])
    weights = np.array([1.0, 0.5, 0.25])
    found = FixedPointSum(Canvas((0, 0), (4, 4)), BITS)
    for value, weight in zip(values, weights, strict=True):
        patch = torch.full((1, 3, 3), complex(value), dtype=torch.complex128)
        found.add(patch, torch.full((3, 3), float(weight)), torch.zeros(1, 2, dtype=torch.float64))
    spread = disagreement(found.arrays(), BITS)
    mean = (weights * values).sum() / weights.sum()
    variance = (weights * np.abs(values - mean) ** 2).sum() / (weights.sum() - (weights**2).sum() / weights.sum())
    assert np.allclose(spread[:3, :3], np.sqrt(variance), rtol=1e-5)
    assert np.isnan(spread[3]).all()
    assert np.isnan(spread[:, 3]).all()


def test_disagreement_is_unknown_where_one_patch_decides() -> None:
    """A second patch of a thousandth of the weight says nothing about the first."""
    found = FixedPointSum(Canvas((0, 0), (4, 8)), BITS)
    weight = torch.ones(3, 3)
    patches = torch.ones(1, 3, 3, dtype=torch.complex128)
    found.add(patches, weight, torch.tensor([[0.0, 0.0]], dtype=torch.float64))
    found.add(2 * patches, weight * 1e-3, torch.tensor([[0.0, 0.0]], dtype=torch.float64))
    found.add(patches, weight, torch.tensor([[0.0, 4.0]], dtype=torch.float64))
    assert found.arrays()["count"][0].tolist() == [2, 2, 2, 0, 1, 1, 1, 0]
    assert np.isnan(disagreement(found.arrays(), BITS)).all()


@pytest.mark.parametrize("n_patterns", [2, 1000, 10**6])
def test_agreeing_patches_disagree_by_no_more_than_rounding(n_patterns: int) -> None:
    bits = fraction_bits(n_patterns)
    found = FixedPointSum(CANVAS, bits)
    patches = torch.full((COUNT, N, N), 0.7 - 0.6j, dtype=torch.complex128)
    found.add(patches, WEIGHT, torch.from_numpy(POSITIONS))
    spread = disagreement(found.arrays(), bits)
    inside = found.arrays()["weight"] > 2.0**bits
    assert np.nanmax(spread[inside]) < 2e-3 if n_patterns > 1000 else np.nanmax(spread[inside]) < 1e-4


def test_squares_of_the_largest_patches_do_not_overflow() -> None:
    count = 4096
    found = FixedPointSum(Canvas((0, 0), (3, 3)), fraction_bits(count))
    patches = torch.full((64, 2, 2), 1023.0 + 0.0j, dtype=torch.complex128)
    for _ in range(count // 64):
        found.add(patches, torch.ones(2, 2), torch.zeros(64, 2, dtype=torch.float64))
    square = found.arrays()["square"][0, 0] / 2.0 ** (fraction_bits(count) - 10)
    assert square == pytest.approx(count * 1023.0**2)


def test_rotation_of_all_patches_changes_no_disagreement() -> None:
    turned = disagreement(total(np.arange(COUNT), patches=PATCHES * np.exp(0.7j)), BITS)
    assert np.allclose(turned, disagreement(total(np.arange(COUNT)), BITS), rtol=1e-4, equal_nan=True)
