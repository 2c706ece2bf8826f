"""What the network sees and what its answer becomes: values and hand-written derivatives."""

from __future__ import annotations

import torch
from torch import Tensor

from ptycho_dist.model.features import exponential, features


def random_complex(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


def test_features_hold_the_correction_the_wave_and_the_exponent_in_the_middle() -> None:
    correction, probe, exponent = (random_complex(*shape, seed=0) for shape in ((2, 6, 6), (8, 8), (2, 4, 4)))
    found = features(correction, probe, exponent)
    wave = correction * (probe / probe.abs().max())[1:7, 1:7]
    for channel, image in zip((0, 2), (correction, wave), strict=True):
        assert torch.allclose(torch.complex(found[:, channel], found[:, channel + 1]), image)
    assert torch.equal(torch.complex(found[:, 4], found[:, 5])[:, 1:5, 1:5], exponent)
    assert found[:, 4:, 0].abs().max() == found[:, 4:, :, -1].abs().max() == 0


def test_features_gradient_is_right() -> None:
    correction, exponent = (random_complex(2, side, side, seed=1).requires_grad_() for side in (6, 4))
    probe = random_complex(8, 8, seed=2)
    assert torch.autograd.gradcheck(lambda one, other: features(one, probe, other), (correction, exponent))


def test_exponential_is_that_of_torch_with_its_gradient() -> None:
    exponent = random_complex(2, 3, 3, seed=3).requires_grad_()
    assert torch.allclose(exponential(exponent), torch.exp(exponent), rtol=1e-12)
    assert torch.autograd.gradcheck(exponential, (exponent,))
