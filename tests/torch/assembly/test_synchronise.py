"""Phases of patches: known answers, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest

from ptycho_dist.assembly.synchronise import overlap_pairs, pair_product, solve_phases


def scan_points(count: int, span: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.random.default_rng(1).uniform(0.0, span, (count, 2))


def test_overlap_pairs_are_sorted_unique_and_overlap() -> None:
    positions = scan_points(80, 60.0)
    pairs = overlap_pairs(positions, 16)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    assert (np.abs(positions[pairs[:, 0]] - positions[pairs[:, 1]]) < 15).all()
    assert set(pairs.reshape(-1)) == set(range(80))


@pytest.mark.parametrize("count", [1, 2])
def test_overlap_pairs_of_a_tiny_scan(count: int) -> None:
    assert len(overlap_pairs(scan_points(count, 4.0), 16)) == count - 1


def test_overlap_pairs_leaves_distant_patches_alone() -> None:
    assert len(overlap_pairs(np.array([[0.0, 0.0], [0.0, 40.0]]), 16)) == 0


@pytest.mark.parametrize("offset", [(0, 0), (3, -2), (-4, 5)])
def test_pair_product_tells_the_relative_phase(offset: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    canvas = (rng.normal(size=(40, 40)) + 1j * rng.normal(size=(40, 40))).astype(np.complex64)
    y, x = offset
    first = canvas[10:22, 10:22] * np.exp(0.7j)
    second = canvas[10 + y : 22 + y, 10 + x : 22 + x] * np.exp(-0.4j)
    product = pair_product(first.astype(np.complex64), second.astype(np.complex64), np.ones((12, 12)), offset)
    assert np.angle(product) == pytest.approx(1.1, abs=1e-5)
    overlap = (12 - abs(y)) * (12 - abs(x))
    assert 0.5 * overlap < abs(product) < 8 * overlap


def test_solve_phases_undoes_known_phases_beyond_a_turn() -> None:
    positions = scan_points(150, 80.0)
    truth = 0.06 * positions[:, 0] - 0.04 * positions[:, 1] + 0.3 * np.sin(positions[:, 0] / 7)
    pairs = overlap_pairs(positions, 16)
    strength = np.random.default_rng(2).uniform(0.5, 2.0, len(pairs))
    products = strength * np.exp(1j * (truth[pairs[:, 0]] - truth[pairs[:, 1]]))
    left = solve_phases(150, pairs, products) + truth
    assert np.ptp(truth) > np.pi
    assert np.abs(left - left.mean()).max() < 1e-2


def test_solve_phases_leaves_agreeing_patches_as_they_are() -> None:
    pairs = overlap_pairs(scan_points(40, 30.0), 16)
    assert np.abs(solve_phases(40, pairs, np.full(len(pairs), 3.0 + 0.0j))).max() == 0.0


def test_solve_phases_of_a_patch_without_neighbours_is_zero() -> None:
    phases = solve_phases(3, np.array([[0, 1]]), np.array([np.exp(0.5j)]))
    assert phases[2] == 0.0
    assert phases[0] - phases[1] == pytest.approx(-0.5, abs=1e-3)
