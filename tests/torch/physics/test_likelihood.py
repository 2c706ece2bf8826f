"""Misfits with known answers."""

from __future__ import annotations

import math

import pytest
import torch

from ptycho_dist.physics.likelihood import TERMS
from tests.support.optics import misfit_of


def full(value: float, patterns: int = 1) -> torch.Tensor:
    return torch.full((patterns, 4, 4), value, dtype=torch.float64)


def test_amplitude_misfit_of_known_values() -> None:
    assert misfit_of("amplitude", full(9.0), full(4.0)).tolist() == pytest.approx([16.0], rel=1e-5)


def test_poisson_misfit_of_known_values() -> None:
    expected = 16 * (9.0 - 4.0 + 4.0 * math.log(4.0 / 9.0))
    assert misfit_of("poisson", full(9.0), full(4.0)).tolist() == pytest.approx([expected], rel=1e-5)


def test_poisson_misfit_differs_from_the_log_likelihood_by_a_constant_of_the_counts() -> None:
    counts = torch.poisson(full(5.0), generator=torch.Generator().manual_seed(0))

    def nll(rate: float) -> float:
        return -float(torch.distributions.Poisson(full(rate)).log_prob(counts).sum())

    difference = float(misfit_of("poisson", full(7.0), counts) - misfit_of("poisson", full(4.0), counts))
    assert difference == pytest.approx(nll(7.0) - nll(4.0), rel=1e-5)


@pytest.mark.parametrize("kind", TERMS)
def test_misfit_is_zero_for_a_perfect_model_and_positive_else(kind: str) -> None:
    counts = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 9
    counts[0, 0, 0] = 0
    assert misfit_of(kind, counts, counts).abs().max() < 1e-12
    for factor in (0.5, 0.9, 1.1, 2.0):
        assert misfit_of(kind, factor * counts, counts).min() > 0


@pytest.mark.parametrize("kind", TERMS)
def test_misfit_leaves_masked_pixels_out_of_value_and_gradient(kind: str) -> None:
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[1, 2] = False
    counts, model = full(4.0, 2), full(9.0, 2).requires_grad_()
    wild = counts.clone()
    wild[:, 1, 2] = 1e9
    masked = misfit_of(kind, model, wild, mask)
    assert masked.tolist() == pytest.approx((misfit_of(kind, full(9.0, 2), counts) * 15 / 16).tolist(), rel=1e-6)
    masked.sum().backward()
    assert model.grad is not None
    assert model.grad[:, 1, 2].tolist() == [0.0, 0.0]
    assert model.grad[:, 0, 0].min() > 0


@pytest.mark.parametrize("kind", TERMS)
def test_misfit_and_gradient_stay_finite_at_zero(kind: str) -> None:
    model = torch.zeros(1, 4, 4).requires_grad_()
    value = misfit_of(kind, model, torch.tensor([[[0.0, 1.0, 10.0, 1e6]] * 4]))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert model.grad is not None
    assert torch.isfinite(model.grad).all()
