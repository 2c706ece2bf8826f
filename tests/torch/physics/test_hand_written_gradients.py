"""Derivatives that are written out by hand equal those of automatic and of numerical differentiation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ptycho_dist.physics.backprojection import backproject, centre
from ptycho_dist.physics.explain import pattern_misfits
from ptycho_dist.physics.likelihood import MISFITS
from ptycho_dist.physics.measured import Measured
from ptycho_dist.physics.probe import probe_intensity
from ptycho_dist.physics.propagation import far_field_intensity

N, SIDE, PATCH, BATCH = 12, 10, 6, 3


def random_complex(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


def counts() -> Tensor:
    return torch.poisson(torch.full((BATCH, N, N), 3.0, dtype=torch.float64), torch.Generator().manual_seed(0))


def some_mask() -> Tensor:
    return torch.rand(N, N, generator=torch.Generator().manual_seed(1)) > 0.2


@pytest.mark.parametrize("modes", [1, 2])
@pytest.mark.parametrize("mask", [None, some_mask()], ids=["whole", "masked"])
@pytest.mark.parametrize("kind", MISFITS)
def test_pattern_misfits_equal_propagation_and_likelihood_in_turn(kind: str, mask: Tensor | None, modes: int) -> None:
    objects, probe = (random_complex(BATCH, N, N, seed=2), random_complex(modes, N, N, seed=3))
    inputs = (objects.requires_grad_(), probe.requires_grad_())
    weight = torch.arange(1.0, BATCH + 1)
    found = pattern_misfits(kind, objects, probe, Measured.of(counts(), mask))
    expected = MISFITS[kind](far_field_intensity(probe[:, None] * objects), counts(), mask)
    assert torch.allclose(found, expected, rtol=1e-12)
    for one, other in zip(
        torch.autograd.grad((found * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-10)


def plain_correction(patches: Tensor, probe: Tensor, mask: Tensor | None) -> Tensor:
    """Back-projection as in the reference that backprojection.py names, in as many steps."""
    objects = functional.pad(patches - 1, ((N - PATCH) // 2,) * 4) + 1
    spectrum = torch.fft.fftshift(torch.fft.fft2(probe[:, None] * objects, norm="ortho"), dim=(-2, -1))
    modelled = torch.sqrt(spectrum.abs().square().sum(dim=0) + 1e-3)
    ratio = torch.sqrt(counts() + 1e-6) / modelled - 1
    ratio = ratio if mask is None else ratio * mask
    back = torch.fft.ifft2(torch.fft.ifftshift(ratio * spectrum, dim=(-2, -1)), norm="ortho")
    bright = probe_intensity(probe)
    change = (back * (probe.conj() / (bright + 0.05 * bright.max()))[:, None]).sum(dim=0)
    return centre(change / objects, SIDE)


@pytest.mark.parametrize("modes", [1, 2])
@pytest.mark.parametrize("mask", [None, some_mask()], ids=["whole", "masked"])
def test_backproject_equals_its_definition_in_value_and_gradient(mask: Tensor | None, modes: int) -> None:
    patches, probe = 1 + 0.3 * random_complex(BATCH, PATCH, PATCH, seed=4), random_complex(modes, N, N, seed=5)
    patches.requires_grad_()
    toward = random_complex(BATCH, SIDE, SIDE, seed=6)
    found = backproject(Measured.of(counts(), mask), probe, SIDE, patches)
    expected = plain_correction(patches, probe, mask)
    assert torch.allclose(found, expected, rtol=1e-10)
    grads = [torch.autograd.grad((one * toward.conj()).real.sum(), patches)[0] for one in (found, expected)]
    assert torch.allclose(*grads, rtol=1e-9, atol=1e-12)


def test_backproject_without_patches_takes_the_object_to_be_one() -> None:
    measured, probe = Measured.of(counts(), some_mask()), random_complex(2, N, N, seed=5)
    ones = torch.ones(BATCH, PATCH, PATCH, dtype=torch.complex128)
    assert torch.allclose(backproject(measured, probe, SIDE), backproject(measured, probe, SIDE, ones), rtol=1e-10)
