"""Propagators: unitary, inverse, and right where the answer is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ptycho_dist.errors import ConfigError, PhysicsError
from ptycho_dist.physics.propagators import ConeBeam, FarField, NearField, Propagator, make_propagator, wavelength_m
from ptycho_dist.types import Propagation

LIKE = torch.zeros(0, dtype=torch.complex128)


@pytest.fixture
def wave() -> Tensor:
    return torch.randn(3, 2, 16, 16, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))


PROPAGATORS = [FarField(), NearField.over(16, 1e-7, 1e-10, 2e-4, LIKE), NearField.over(16, 1e-7, 1e-10, -2e-4, LIKE)]


@pytest.mark.parametrize("propagator", PROPAGATORS)
def test_backward_is_inverse_and_adjoint(propagator: Propagator, wave: Tensor) -> None:
    there = propagator.forward(wave)
    assert torch.allclose(propagator.backward(there), wave, atol=1e-12)
    other = wave.flip(0)
    left, right = (
        torch.vdot(there.flatten(), other.flatten()),
        torch.vdot(wave.flatten(), propagator.backward(other).flatten()),
    )
    assert torch.allclose(left, right, rtol=1e-12)


def test_far_field_keeps_the_energy_and_has_dc_at_the_corner() -> None:
    flat = FarField().forward(torch.ones(16, 16, dtype=torch.complex128))
    assert flat[0, 0] == pytest.approx(16.0)
    assert flat.abs().sum() == pytest.approx(16.0)


def test_far_field_of_a_ramp_moves_to_its_frequency() -> None:
    y = torch.arange(16, dtype=torch.float64)[:, None].expand(16, 16)
    wave = torch.polar(torch.ones_like(y), 2 * torch.pi * 3 * y / 16)
    peak = FarField().rearrange(FarField().forward(wave).abs()).argmax()
    assert (int(peak) // 16, int(peak) % 16) == (8 + 3, 8)


@pytest.mark.parametrize("propagator", PROPAGATORS)
def test_rearrange_undoes_arrange(propagator: Propagator) -> None:
    values = torch.arange(15.0 * 15).reshape(15, 15)
    assert torch.equal(propagator.rearrange(propagator.arrange(values)), values)


def test_unknown_propagation_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'mid_field'; expected one of far_field, near_field"):
        make_propagator(Propagation(kind="mid_field"), 16, LIKE)


def test_far_field_arranges_patterns_as_its_waves(wave: Tensor) -> None:
    centred = torch.fft.fftshift(torch.fft.fft2(wave, norm="ortho"), dim=(-2, -1)).abs().square()
    assert torch.allclose(FarField().arrange(centred), FarField().forward(wave).abs().square(), atol=1e-12)


def test_near_field_widens_a_gaussian_beam_as_it_must() -> None:
    N, pixel, length, waist, distance = 256, 5e-8, 1e-10, 1e-6, 0.03
    axis = (torch.arange(N, dtype=torch.float64) - N // 2) * pixel
    radius = axis[:, None].square() + axis.square()
    beam = torch.exp(-radius / waist**2).to(torch.complex128)
    found = NearField.over(N, pixel, length, distance, LIKE).forward(beam).abs().square()
    rayleigh = math.pi * waist**2 / length
    width = waist * math.sqrt(1 + (distance / rayleigh) ** 2)
    assert width > 1.3 * waist
    expected = (waist / width) ** 2 * torch.exp(-2 * radius / width**2)
    assert torch.allclose(found, expected, atol=2e-4)


def test_cone_beam_scales_as_the_fresnel_theorem_says() -> None:
    beam = ConeBeam(0.5, 1.5)
    assert beam.magnification == pytest.approx(4.0)
    assert beam.effective_distance_m == pytest.approx(0.5 * 1.5 / 2.0)
    parallel = ConeBeam(math.inf, 1.5)
    assert (parallel.magnification, parallel.effective_distance_m) == (1.0, 1.5)


def test_wavelength_of_12_4_kev_is_an_angstrom() -> None:
    assert wavelength_m(12398.42) == pytest.approx(1e-10, rel=1e-6)


@pytest.mark.parametrize("numbers", [(0.0, 1e-10, 1.0), (1e-7, math.nan, 1.0), (1e-7, 1e-10, 0.0), (1e-7, 2e-7, 1.0)])
def test_near_field_refuses_numbers_that_make_no_sense(numbers: tuple[float, float, float]) -> None:
    with pytest.raises(PhysicsError, match="pixels of"):
        NearField.over(16, *numbers, LIKE)
