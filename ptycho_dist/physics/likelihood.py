"""How well a modelled intensity explains measured counts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_TINY = 1e-6


def modulus(counts: Tensor) -> Tensor:
    """Square root of counts, with a finite slope at zero."""
    return torch.sqrt(counts + _TINY)


def amplitude_misfit(
    model_BNN: Float[Tensor, "B N N"], counts_BNN: Float[Tensor, "B N N"], mask_NN: Bool[Tensor, "N N"] | None = None
) -> Float[Tensor, " B"]:
    r"""Sum over valid pixels of :math:`(\sqrt{I} - \sqrt{n})^2`, for each pattern.

    The square root stabilises the variance of Poisson counts, which makes this
    twice the Gaussian negative log-likelihood of the amplitudes (Godard et al.,
    Opt. Express 20, 25914 (2012), DOI 10.1364/OE.20.025914).
    """
    return _sum_valid(amplitude_terms(model_BNN, counts_BNN, modulus(counts_BNN))[0], mask_NN)


def poisson_misfit(
    model_BNN: Float[Tensor, "B N N"], counts_BNN: Float[Tensor, "B N N"], mask_NN: Bool[Tensor, "N N"] | None = None
) -> Float[Tensor, " B"]:
    r"""Poisson deviance over two, :math:`\sum I - n + n \ln(n / I)`, for each pattern.

    The negative log-likelihood of the counts, up to a constant that makes it
    zero for a perfect model (Thibault and Guizar-Sicairos, New J. Phys. 14,
    063004 (2012), DOI 10.1088/1367-2630/14/6/063004).
    """
    return _sum_valid(poisson_terms(model_BNN, counts_BNN, modulus(counts_BNN))[0], mask_NN)


def amplitude_terms(model: Tensor, counts: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    """Amplitude misfit of each pixel, and its derivative by the modelled intensity; ``root`` is the modulus."""
    modelled = modulus(model)
    difference = modelled - root
    return difference.square(), difference / modelled


def poisson_terms(model: Tensor, counts: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    """Poisson misfit of each pixel, and its derivative by the modelled intensity; ``root`` is the modulus."""
    model, counts = model + _TINY, counts + _TINY
    deviance = model - counts + counts * (torch.log(counts) - torch.log(model))
    return deviance, 1 - counts / model


MISFITS = {"amplitude": amplitude_misfit, "poisson": poisson_misfit}
TERMS: dict[str, Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "amplitude": amplitude_terms,
    "poisson": poisson_terms,
}
"""Misfit and slope of each pixel, from modelled intensity, counts and modulus."""


def _sum_valid(values_BNN: Tensor, mask_NN: Tensor | None) -> Tensor:
    if mask_NN is not None:
        values_BNN = torch.where(mask_NN, values_BNN, torch.zeros_like(values_BNN))
    return values_BNN.sum(dim=(-2, -1))
