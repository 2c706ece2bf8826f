"""Measured patterns, and how well a modelled intensity explains them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ptycho_dist.physics.propagators import Propagator

TINY = 1e-6


def modulus(counts: Tensor) -> Tensor:
    """Square root of counts, with a finite slope at zero."""
    return (counts + TINY).sqrt_()


def amplitude_terms(model: Tensor, counts: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    r"""Amplitude misfit of each pixel, :math:`(\sqrt{I} - \sqrt{n})^2`, and its derivative by the intensity I.

    The square root stabilises the variance of Poisson counts, which makes this twice the Gaussian negative
    log-likelihood of the amplitudes (Godard et al., Opt. Express 20, 25914 (2012), DOI 10.1364/OE.20.025914).

    Parameters
    ----------
    model, counts, root : Tensor, float
        Modelled intensity, measured counts, and the :func:`modulus` of the latter; of one shape.
    """
    modelled = modulus(model)
    difference = modelled - root
    return difference.square(), difference / modelled


def poisson_terms(model: Tensor, counts: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    r"""Poisson deviance over two of each pixel, :math:`I - n + n \ln(n / I)`, and its derivative by the intensity I.

    The negative log-likelihood of the counts, up to a constant that makes it zero for a perfect model (Thibault and
    Guizar-Sicairos, New J. Phys. 14, 063004 (2012), DOI 10.1088/1367-2630/14/6/063004). Parameters are those of
    :func:`amplitude_terms`.
    """
    model, counts = model + TINY, counts + TINY
    deviance = model - counts + counts * (torch.log(counts) - torch.log(model))
    return deviance, 1 - counts / model


TERMS: dict[str, Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "amplitude": amplitude_terms,
    "poisson": poisson_terms,
}
"""Misfit and slope of each pixel, from modelled intensity, counts and modulus."""


def sum_valid(values_BNN: Float[Tensor, "B N N"], mask_NN: Bool[Tensor, "N N"] | None) -> Float[Tensor, " B"]:
    """Sum the values of each pattern over the valid pixels."""
    if mask_NN is not None:
        values_BNN = torch.where(mask_NN, values_BNN, torch.zeros_like(values_BNN))
    return values_BNN.sum(dim=(-2, -1))


@dataclass(frozen=True)
class Patterns:
    """Patterns in the detector order of a propagator.

    Parameters
    ----------
    counts_BNN
        float, shape (B, N, N): photon counts.
    modulus_BNN
        float, shape (B, N, N): their square roots.
    mask_NN
        bool, shape (N, N): valid pixels; None where all are.
    """

    counts_BNN: Tensor
    modulus_BNN: Tensor
    mask_NN: Tensor | None

    @classmethod
    def of(
        cls, counts_BNN: Float[Tensor, "B N N"], propagator: Propagator, mask_NN: Bool[Tensor, "N N"] | None = None
    ) -> Patterns:
        """Prepare counts and mask as scans have them: zero frequency, or the beam, at the array's centre."""
        counts = propagator.arrange(counts_BNN)
        mask = None if mask_NN is None else propagator.arrange(mask_NN)
        return cls(counts, modulus(counts), mask)
