"""Object patches held against their patterns: probe, far field and likelihood in one differentiable step.

Written out by hand because automatic differentiation keeps and passes over many full frames; this keeps the far
field and one real frame, and needs one Fourier transform in each direction.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ptycho_dist.physics.likelihood import TERMS
from ptycho_dist.physics.patterns import Patterns


def pattern_misfits(
    kind: str, objects_BNN: Complex[Tensor, "B N N"], probe_PNN: Complex[Tensor, "P N N"], measured: Patterns,
    background_NN: Float[Tensor, "N N"] | None = None,
) -> Float[Tensor, " B"]:  # fmt: skip
    """Misfit of each pattern to its object patch; differentiable in objects, probe and background.

    Parameters
    ----------
    kind
        As in :data:`~ptycho_dist.physics.likelihood.TERMS`.
    objects_BNN : Tensor, complex, shape (B, N, N)
        Object patches.
    probe_PNN : Tensor, complex, shape (P, N, N)
        Probe modes whose far field squares to counts.
    measured
        The patterns.
    background_NN : Tensor, float, shape (N, N), optional
        Counts that do not come from the object, zero frequency at the corner.
    """
    misfits: Tensor = _Misfits.apply(objects_BNN, probe_PNN, background_NN, measured, kind)
    return misfits


def squared(spectrum_PBNN: Complex[Tensor, "P B N N"]) -> Float[Tensor, "B N N"]:
    """Sum over modes of the squared magnitude (the product with the conjugate is the fastest way on a CPU)."""
    product = (spectrum_PBNN * spectrum_PBNN.conj()).real
    return product[0] if len(product) == 1 else product.sum(dim=0)


class _Misfits(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, objects: Tensor, probe: Tensor, background: Tensor | None, measured: Patterns, kind: str
    ) -> Tensor:
        spectrum = torch.fft.fft2(probe[:, None] * objects, norm="ortho")
        modelled = squared(spectrum) if background is None else squared(spectrum) + background
        misfit, slope = TERMS[kind](modelled, measured.counts_BNN, measured.modulus_BNN)
        if measured.mask_NN is not None:
            misfit, slope = (torch.where(measured.mask_NN, one, torch.zeros_like(one)) for one in (misfit, slope))
        ctx.save_for_backward(objects, probe, spectrum, slope)
        return misfit.sum(dim=(-2, -1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        objects, probe, spectrum, slope = ctx.saved_tensors
        weight = slope * (2 * grads[0])[:, None, None]
        waves = torch.fft.ifft2(spectrum * weight, norm="ortho")
        of_objects = of_probe = of_background = None
        if ctx.needs_input_grad[0]:
            of_objects = (probe.conj()[:, None] * waves).sum(dim=0)
        if ctx.needs_input_grad[1]:
            of_probe = (objects.conj() * waves).sum(dim=1)
        if ctx.needs_input_grad[2]:
            of_background = weight.sum(dim=0) / 2
        return of_objects, of_probe, of_background, None, None
