"""Phases of patches: known answers, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ptycho_dist.assembly.synchronise import overlap_pairs, pair_products, solve_phases
from ptycho_dist.types import FloatArray, IntArray


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
    patches = np.stack([first, second]).astype(np.complex64)
    (product,) = pair_products(patches, np.array([[0, 1]]), np.array([offset]), np.ones((12, 12)))
    assert np.angle(product) == pytest.approx(1.1, abs=1e-5)
    overlap = (12 - abs(y)) * (12 - abs(x))
    assert 0.5 * overlap < abs(product) < 8 * overlap


def one_by_one(patches: NDArray[np.complex64], pairs: IntArray, offsets: IntArray, weight: FloatArray) -> list[complex]:
    """Products of pairs, pixel by pixel."""
    products = []
    for (i, j), (y, x) in zip(pairs, offsets, strict=True):
        shared = [(r, c) for r in range(len(weight)) for c in range(len(weight))]
        shared = [(r, c) for r, c in shared if 0 <= r - y < len(weight) and 0 <= c - x < len(weight)]
        products.append(
            sum(
                complex(patches[i, r, c])
                * complex(patches[j, r - y, c - x]).conjugate()
                * weight[r, c]
                * weight[r - y, c - x]
                for r, c in shared
            )
        )
    return products


def some_patches(count: int, side: int) -> tuple[NDArray[np.complex64], IntArray, IntArray, FloatArray]:
    rng = np.random.default_rng(3)
    positions = scan_points(count, 2.0 * side)
    pairs = overlap_pairs(positions, side)
    patches = (rng.normal(size=(count, side, side)) + 1j * rng.normal(size=(count, side, side))).astype(np.complex64)
    offsets = np.rint(positions[pairs[:, 1]] - positions[pairs[:, 0]]).astype(np.int64)
    return patches, pairs, offsets, rng.uniform(0.1, 1.0, (side, side))


def test_pair_products_are_those_of_each_pair() -> None:
    patches, pairs, offsets, weight = some_patches(30, 6)
    products = pair_products(patches, pairs, offsets, weight)
    assert np.abs(products - np.array(one_by_one(patches, pairs, offsets, weight))).max() < 1e-12


def test_pair_products_have_the_same_bits_in_any_company() -> None:
    patches, pairs, _, weight = some_patches(300, 20)
    offsets = np.tile([2, -3], (len(pairs), 1))
    together = pair_products(patches, pairs, offsets, weight)
    assert len(pairs) > 4 * (1 << 16) // weight.size
    for start, size in ((0, 1), (5, 2), (7, 300)):
        part = slice(start, start + size)
        assert np.array_equal(pair_products(patches, pairs[part], offsets[part], weight), together[part])
    assert len(pair_products(patches, pairs[:0], offsets[:0], weight)) == 0


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


def by_dense_algebra(count: int, pairs: IntArray, products: NDArray[np.complex128]) -> FloatArray:
    """Phases from the same rounds, each solved densely."""
    incidence = np.zeros((len(pairs), count))
    incidence[np.arange(len(pairs)), pairs[:, 0]] = 1.0
    incidence[np.arange(len(pairs)), pairs[:, 1]] = -1.0
    strength = np.abs(products) / np.abs(products).mean()
    normal = incidence.T @ (strength[:, None] * incidence) + 1e-5 * np.eye(count)
    phases = np.zeros(count)
    for _ in range(6):
        residual = np.angle(products * np.exp(1j * (incidence @ phases)))
        phases = phases - np.linalg.solve(normal, incidence.T @ (strength * residual))
    return phases


@pytest.mark.parametrize("most_factorised", [0, 400])
@pytest.mark.parametrize("layout", ["one piece", "many pieces"])
def test_solve_phases_agrees_with_dense_algebra_by_either_solver(layout: str, most_factorised: int) -> None:
    positions = scan_points(400, 90.0)
    if layout == "many pieces":
        positions += 100.0 * np.random.default_rng(5).integers(0, 4, (400, 2))
    pairs = overlap_pairs(positions, 16)
    rng = np.random.default_rng(4)
    truth = np.sin(positions[:, 0] / 20) + rng.normal(0.0, 0.3, 400)
    turned = truth[pairs[:, 0]] - truth[pairs[:, 1]] + rng.normal(0.0, 0.2, len(pairs))
    products = rng.uniform(0.01, 2.0, len(pairs)) * np.exp(1j * turned)
    phases = solve_phases(400, pairs, products, most_factorised)
    assert np.ptp(phases) > 1.0
    allowed = 1e-9 if most_factorised else 1e-4
    assert np.abs(phases - by_dense_algebra(400, pairs, products)).max() < allowed


def test_solve_phases_recovers_the_phases_of_each_piece_apart() -> None:
    positions = np.concatenate([scan_points(60, 40.0), scan_points(60, 40.0) + 500.0])
    truth = np.random.default_rng(6).uniform(-1.0, 1.0, 120)
    pairs = overlap_pairs(positions, 16)
    phases = solve_phases(120, pairs, np.exp(1j * (truth[pairs[:, 0]] - truth[pairs[:, 1]])))
    for piece in (slice(0, 60), slice(60, 120)):
        left = phases[piece] + truth[piece]
        assert np.abs(left - left.mean()).max() < 1e-4
        assert abs(phases[piece].mean()) < 1e-9


@pytest.mark.parametrize("count", [1, 5])
def test_solve_phases_without_pairs_is_zero(count: int) -> None:
    phases = solve_phases(count, np.empty((0, 2), np.int64), np.empty(0, np.complex128))
    assert np.array_equal(phases, np.zeros(count))


def test_solve_phases_where_nothing_was_measured_is_zero() -> None:
    assert np.array_equal(solve_phases(3, np.array([[0, 1], [1, 2]]), np.zeros(2, np.complex128)), np.zeros(3))
