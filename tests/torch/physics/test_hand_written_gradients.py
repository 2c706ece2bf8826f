"""Derivatives that are written out by hand equal those of automatic and of numerical differentiation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ptycho_dist.physics.epie_step import backproject, centre
from ptycho_dist.physics.likelihood import MISFITS
from ptycho_dist.physics.misfit import pattern_misfits
from ptycho_dist.physics.patterns import Patterns
from ptycho_dist.physics.probe import probe_intensity
from ptycho_dist.physics.propagation import far_field_intensity

N, SIDE, PATCH, BATCH = 12, 10, 6, 3


def random_complex(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


def counts() -> Tensor:
    return torch.poisson(torch.full((BATCH, N, N), 3.0, dtype=torch.float64), torch.Generator().manual_seed(0))


def some_background() -> Tensor:
    return 2 * torch.rand(N, N, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def some_mask() -> Tensor:
    return torch.rand(N, N, generator=torch.Generator().manual_seed(1)) > 0.2


@pytest.mark.parametrize("modes", [1, 2])
@pytest.mark.parametrize("mask", [None, some_mask()], ids=["whole", "masked"])
@pytest.mark.parametrize("kind", MISFITS)
def test_pattern_misfits_equal_propagation_and_likelihood_in_turn(kind: str, mask: Tensor | None, modes: int) -> None:
    objects, probe = (random_complex(BATCH, N, N, seed=2), random_complex(modes, N, N, seed=3))
    inputs = (objects.requires_grad_(), probe.requires_grad_())
    weight = torch.arange(1.0, BATCH + 1)
    found = pattern_misfits(kind, objects, probe, Patterns.of(counts(), mask))
    expected = MISFITS[kind](far_field_intensity(probe[:, None] * objects), counts(), mask)
    assert torch.allclose(found, expected, rtol=1e-12)
    for one, other in zip(
        torch.autograd.grad((found * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mask", [None, some_mask()], ids=["whole", "masked"])
@pytest.mark.parametrize("kind", MISFITS)
def test_pattern_misfits_are_exact_in_the_background(kind: str, mask: Tensor | None) -> None:
    objects, probe, background = random_complex(BATCH, N, N, seed=2), random_complex(2, N, N, seed=3), some_background()
    inputs = (objects.requires_grad_(), probe.requires_grad_(), background.requires_grad_())
    weight = torch.arange(1.0, BATCH + 1)
    found = pattern_misfits(kind, objects, probe, Patterns.of(counts(), mask), background)
    modelled = far_field_intensity(probe[:, None] * objects) + torch.fft.fftshift(background)
    expected = MISFITS[kind](modelled, counts(), mask)
    assert torch.allclose(found, expected, rtol=1e-12)
    for one, other in zip(
        torch.autograd.grad((found * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", MISFITS)
def test_pattern_misfits_pass_a_numerical_check(kind: str) -> None:
    def misfit(objects: Tensor, probe: Tensor, background: Tensor) -> Tensor:
        return pattern_misfits(kind, objects, probe, Patterns.of(counts()[:1, :4, :4], some_mask()[:4, :4]), background)

    parts = (random_complex(1, 4, 4, seed=2), random_complex(2, 4, 4, seed=3), 1 + some_background()[:4, :4])
    assert torch.autograd.gradcheck(misfit, tuple(part.requires_grad_() for part in parts))


def plain_correction(
    patches: Tensor, probe: Tensor, mask: Tensor | None, background: Tensor | None = None
) -> Tensor:  # fmt: skip
    """Back-projection as in the reference that backprojection.py names, in as many steps."""
    objects = functional.pad(patches - 1, ((N - PATCH) // 2,) * 4) + 1
    spectrum = torch.fft.fftshift(torch.fft.fft2(probe[:, None] * objects, norm="ortho"), dim=(-2, -1))
    extra = 0 if background is None else torch.fft.fftshift(background)
    modelled = torch.sqrt(spectrum.abs().square().sum(dim=0) + 1e-3 + extra)
    ratio = torch.sqrt(counts() + 1e-6) / modelled - 1
    ratio = ratio if mask is None else ratio * mask
    back = torch.fft.ifft2(torch.fft.ifftshift(ratio * spectrum, dim=(-2, -1)), norm="ortho")
    bright = probe_intensity(probe)
    change = (back * (probe.conj() / (bright + 0.05 * bright.max()))[:, None]).sum(dim=0)
    return centre(change / objects, SIDE)


@pytest.mark.parametrize("modes", [1, 2])
@pytest.mark.parametrize("mask", [None, some_mask()], ids=["whole", "masked"])
@pytest.mark.parametrize("background", [None, some_background()], ids=["dark", "foggy"])
def test_backproject_equals_its_definition_in_value_and_gradient(
    mask: Tensor | None, modes: int, background: Tensor | None
) -> None:
    patches, probe = 1 + 0.3 * random_complex(BATCH, PATCH, PATCH, seed=4), random_complex(modes, N, N, seed=5)
    patches.requires_grad_()
    toward = random_complex(BATCH, SIDE, SIDE, seed=6)
    found = backproject(Patterns.of(counts(), mask), probe, SIDE, patches, background)
    expected = plain_correction(patches, probe, mask, background)
    assert torch.allclose(found, expected, rtol=1e-10)
    grads = [torch.autograd.grad((one * toward.conj()).real.sum(), patches)[0] for one in (found, expected)]
    assert torch.allclose(*grads, rtol=1e-9, atol=1e-12)


def test_backproject_without_patches_takes_the_object_to_be_one() -> None:
    measured, probe = Patterns.of(counts(), some_mask()), random_complex(2, N, N, seed=5)
    ones = torch.ones(BATCH, PATCH, PATCH, dtype=torch.complex128)
    assert torch.allclose(backproject(measured, probe, SIDE), backproject(measured, probe, SIDE, ones), rtol=1e-10)
