"""Derivatives that are written out by hand equal those of automatic differentiation of the one forward model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ptycho_dist.physics.epie_step import backproject, centre
from ptycho_dist.physics.intensity import ForwardModel
from ptycho_dist.physics.likelihood import TERMS, Patterns
from ptycho_dist.physics.misfit import pattern_misfits
from ptycho_dist.physics.probe import probe_intensity
from ptycho_dist.physics.propagators import FarField, NearField, Propagator
from tests.support.optics import misfit_of

N, SIDE, PATCH, BATCH = 12, 10, 6, 3
PROPAGATORS = {
    "far_field": FarField(),
    "near_field": NearField.over(N, 1e-7, 1e-10, 2e-4, torch.zeros(0, dtype=torch.complex128)),
}
everywhere = pytest.mark.parametrize("propagator", PROPAGATORS.values(), ids=PROPAGATORS)


def random_complex(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


def counts() -> Tensor:
    return torch.poisson(torch.full((BATCH, N, N), 3.0, dtype=torch.float64), torch.Generator().manual_seed(0))


def some_background() -> Tensor:
    return 2 * torch.rand(N, N, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def some_mask() -> Tensor:
    return torch.rand(N, N, generator=torch.Generator().manual_seed(1)) > 0.2


@everywhere
@pytest.mark.parametrize("background", [None, some_background()], ids=["dark", "background"])
@pytest.mark.parametrize("modes", [1, 2])
@pytest.mark.parametrize("mask", [None, some_mask()], ids=["whole", "masked"])
@pytest.mark.parametrize("kind", TERMS)
def test_pattern_misfits_equal_forward_model_and_likelihood_in_turn(
    kind: str, mask: Tensor | None, modes: int, background: Tensor | None, propagator: Propagator
) -> None:
    objects, probe = (random_complex(BATCH, N, N, seed=2), random_complex(modes, N, N, seed=3))
    inputs = [one.clone().requires_grad_() for one in (objects, probe, background) if one is not None]
    model = ForwardModel(inputs[1], propagator, inputs[2] if background is not None else None)
    weight = torch.arange(1.0, BATCH + 1)
    patterns = Patterns.of(counts(), propagator, mask)
    found = pattern_misfits(kind, inputs[0], model, patterns)
    expected = misfit_of(kind, model.counts(inputs[0]), patterns.counts_BNN, patterns.mask_NN)
    assert torch.allclose(found, expected, rtol=1e-12)
    for one, other in zip(
        torch.autograd.grad((found * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", TERMS)
def test_pattern_misfits_pass_a_numerical_check(kind: str) -> None:
    patterns = Patterns.of(counts()[:1, :4, :4], FarField(), some_mask()[:4, :4])

    def misfit(objects: Tensor, probe: Tensor, background: Tensor) -> Tensor:
        return pattern_misfits(kind, objects, ForwardModel(probe, FarField(), background), patterns)

    parts = (random_complex(1, 4, 4, seed=2), random_complex(2, 4, 4, seed=3), 1 + some_background()[:4, :4])
    assert torch.autograd.gradcheck(misfit, tuple(part.requires_grad_() for part in parts))


def plain_correction(patches: Tensor, model: ForwardModel, patterns: Patterns) -> Tensor:
    """Back-projection as in the reference that epie_step.py names, in as many steps."""
    objects = functional.pad(patches - 1, ((N - PATCH) // 2,) * 4) + 1
    waves = model.waves(objects)
    ratio = torch.sqrt(patterns.counts_BNN + 1e-6) / torch.sqrt(model.intensity(waves) + 1e-3) - 1
    ratio = ratio if patterns.mask_NN is None else ratio * patterns.mask_NN
    back = model.propagator.backward(ratio * waves)
    bright = probe_intensity(model.probe_PNN)
    change = (back * (model.probe_PNN.conj() / (bright + 0.05 * bright.max()))[:, None]).sum(dim=0)
    return centre(change / objects, SIDE)


@everywhere
@pytest.mark.parametrize("modes", [1, 2])
@pytest.mark.parametrize("mask", [None, some_mask()], ids=["whole", "masked"])
@pytest.mark.parametrize("background", [None, some_background()], ids=["dark", "background"])
def test_backproject_equals_its_definition_in_value_and_gradient(
    mask: Tensor | None, modes: int, background: Tensor | None, propagator: Propagator
) -> None:
    patches, probe = 1 + 0.3 * random_complex(BATCH, PATCH, PATCH, seed=4), random_complex(modes, N, N, seed=5)
    patches.requires_grad_()
    toward = random_complex(BATCH, SIDE, SIDE, seed=6)
    model, patterns = ForwardModel(probe, propagator, background), Patterns.of(counts(), propagator, mask)
    found = backproject(patterns, model, SIDE, patches)
    expected = plain_correction(patches, model, patterns)
    assert torch.allclose(found, expected, rtol=1e-10)
    grads = [torch.autograd.grad((one * toward.conj()).real.sum(), patches)[0] for one in (found, expected)]
    assert torch.allclose(*grads, rtol=1e-9, atol=1e-12)


@everywhere
def test_backproject_without_patches_takes_the_object_to_be_one(propagator: Propagator) -> None:
    patterns = Patterns.of(counts(), propagator, some_mask())
    model = ForwardModel(random_complex(2, N, N, seed=5), propagator)
    ones = torch.ones(BATCH, PATCH, PATCH, dtype=torch.complex128)
    assert torch.allclose(backproject(patterns, model, SIDE), backproject(patterns, model, SIDE, ones), rtol=1e-10)
