"""How well a modelled intensity explains measured counts."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_TINY = 1e-6


def amplitude_misfit(
    model_BNN: Float[Tensor, "B N N"], counts_BNN: Float[Tensor, "B N N"], mask_NN: Bool[Tensor, "N N"] | None = None
) -> Float[Tensor, " B"]:
    r"""Sum over valid pixels of :math:`(\sqrt{I} - \sqrt{n})^2`, for each pattern.

    The square root stabilises the variance of Poisson counts, which makes this
    twice the Gaussian negative log-likelihood of the amplitudes (Godard et al.,
    Opt. Express 20, 25914 (2012), DOI 10.1364/OE.20.025914).
    """
    difference = torch.sqrt(model_BNN + _TINY) - torch.sqrt(counts_BNN + _TINY)
    return _sum_valid(difference.square(), mask_NN)


def poisson_misfit(
    model_BNN: Float[Tensor, "B N N"], counts_BNN: Float[Tensor, "B N N"], mask_NN: Bool[Tensor, "N N"] | None = None
) -> Float[Tensor, " B"]:
    r"""Poisson deviance over two, :math:`\sum I - n + n \ln(n / I)`, for each pattern.

    The negative log-likelihood of the counts, up to a constant that makes it
    zero for a perfect model (Thibault and Guizar-Sicairos, New J. Phys. 14,
    063004 (2012), DOI 10.1088/1367-2630/14/6/063004).
    """
    model, counts = model_BNN + _TINY, counts_BNN + _TINY
    deviance = model - counts + counts * (torch.log(counts) - torch.log(model))
    return _sum_valid(deviance, mask_NN)


MISFITS = {"amplitude": amplitude_misfit, "poisson": poisson_misfit}


def _sum_valid(values_BNN: Tensor, mask_NN: Tensor | None) -> Tensor:
    if mask_NN is not None:
        values_BNN = torch.where(mask_NN, values_BNN, torch.zeros_like(values_BNN))
    return values_BNN.sum(dim=(-2, -1))
