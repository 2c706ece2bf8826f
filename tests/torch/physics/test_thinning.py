"""Thinned counts: two independent Poisson measurements, the same however patterns are met."""

from __future__ import annotations

import numpy as np
import pytest

from ptycho_dist.errors import PhysicsError
from ptycho_dist.physics.thinning import thin


def counts(mean: float = 6.0) -> np.ndarray:
    return np.random.default_rng(3).poisson(mean, (40, 32, 32))


def test_thin_makes_independent_poisson_halves() -> None:
    whole = counts()
    first = thin(whole, np.arange(len(whole)), seed=1)
    second = whole - first
    for half in (first, second):
        assert half.min() >= 0
        assert half.mean() == pytest.approx(3.0, abs=5 * np.sqrt(3.0 / half.size))
        assert half.var() / half.mean() == pytest.approx(1.0, abs=5 * np.sqrt(2.0 / half.size))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 5 / np.sqrt(first.size)


def test_thin_depends_on_pattern_number_and_seed_only() -> None:
    whole, numbers = counts(), np.arange(40)
    first = thin(whole, numbers, seed=1)
    some = np.array([31, 4, 17])
    assert np.array_equal(thin(whole[some], some, seed=1), first[some])
    assert not np.array_equal(thin(whole, numbers, seed=2), first)


def test_thin_of_no_patterns_is_empty() -> None:
    assert thin(np.zeros((0, 8, 8), np.int64), np.zeros(0, np.int64), seed=0).shape == (0, 8, 8)


def test_thin_refuses_negative_photons() -> None:
    with pytest.raises(PhysicsError, match="-1 photons"):
        thin(np.full((1, 4, 4), -1), np.zeros(1, np.int64), seed=0)
