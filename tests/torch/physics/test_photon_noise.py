"""What photon noise leaves: against sums over the Poisson distribution, and against random counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import poisson

from ptycho_dist.physics.photon_noise import expected_misfit

MEANS = (1e-6, 1e-3, 0.05, 0.3, 1.0, 2.5, 7.0, 20.0, 63.9, 64.1, 150.0, 3000.0)


def by_summation(mean: float) -> float:
    n = np.arange(int(mean + 40 * mean**0.5 + 60))
    return float(((np.sqrt(n) - mean**0.5) ** 2 * poisson.pmf(n, mean)).sum())


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("gain", [1.0, 3.7])
def test_expected_misfit_is_that_of_the_poisson_distribution(mean: float, gain: float) -> None:
    found = expected_misfit(torch.full((2, 2), mean * gain, dtype=torch.float64), gain)
    assert found.dtype == torch.float64
    assert found.numpy() == pytest.approx(gain * by_summation(mean), rel=2e-4)


def test_nothing_is_left_where_nothing_is_expected() -> None:
    assert expected_misfit(torch.zeros(3, 3)).sum() == 0
    assert expected_misfit(torch.zeros(0, 4, 4)).shape == (0, 4, 4)


def test_sum_over_a_pattern_is_that_of_random_counts() -> None:
    rng = np.random.default_rng(0)
    means = rng.exponential(2.0, (64, 64))
    counts = rng.poisson(means, (300, 64, 64))
    measured = ((np.sqrt(counts) - np.sqrt(means)) ** 2).sum(axis=(1, 2)).mean()
    assert float(expected_misfit(torch.from_numpy(means)).sum()) == pytest.approx(measured, rel=2e-3)
