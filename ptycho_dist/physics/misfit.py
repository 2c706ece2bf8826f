"""Misfit of object patches to their patterns, and its derivatives.

Derivatives are written out because automatic differentiation keeps and reads many full frames; this keeps the waves
at the detector and one real frame, and propagates once in each direction.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ptycho_dist.physics.intensity import ForwardModel, Modelled
from ptycho_dist.physics.likelihood import TERMS, Patterns, sum_valid
from ptycho_dist.physics.photon_noise import expected_misfit
from ptycho_dist.physics.propagators import Propagator


def pattern_misfits(
    kind: str,
    objects_BNN: Complex[Tensor, "B N N"],
    model: ForwardModel,
    patterns: Patterns,
    modelled: Modelled | None = None,
) -> Float[Tensor, " B"]:
    """Misfit of each pattern to its object patch; differentiable in objects, probe and background.

    Parameters
    ----------
    kind
        As in :data:`~ptycho_dist.physics.likelihood.TERMS`.
    objects_BNN : Tensor, complex, shape (B, N, N)
        Object patches.
    model
        Probe, propagation and background.
    patterns
        The patterns, in the detector order of the model's propagator.
    modelled
        What the model makes of the object patches, where it is known.
    """
    made = modelled or Modelled.of(objects_BNN, model)
    misfits: Tensor = _Misfits.apply(
        objects_BNN, model.probe_PNN, model.background_NN, made, model.propagator, patterns, kind
    )
    return misfits


def fourier_misfits(
    objects_BNN: Complex[Tensor, "B N N"],
    model: ForwardModel,
    patterns: Patterns,
    flux_B: Float[Tensor, " B"] | None = None,
    counts_per_photon: float = 1.0,
) -> Float[Tensor, "B 3"]:
    r"""Terms of the Fourier error, and of the normalised error, for each pattern: sums over valid pixels.

    Parameters
    ----------
    objects_BNN : Tensor, complex, shape (B, N, N)
        Object patches.
    model
        Probe, propagation and background.
    patterns
        The patterns, in the detector order of the model's propagator.
    flux_B : Tensor, float, shape (B,), or None
        Brightness of each pattern.
    counts_per_photon
        Of the patterns.

    Returns
    -------
    Tensor, float64, shape (B, 3)
        :math:`\sum (\sqrt{I} - \sqrt{n})^2`, :math:`\sum n`, and what photon noise leaves of the first on average; the
        Fourier error of some patterns is the square root of the ratio of the sums of the first two.
    """
    counts = model.counts(objects_BNN, flux_B)
    misfit, _ = TERMS["amplitude"](counts, patterns.counts_BNN, patterns.modulus_BNN)
    terms = (misfit, patterns.counts_BNN, expected_misfit(counts, counts_per_photon))
    sums = [sum_valid(values.double(), patterns.mask_NN) for values in terms]
    return torch.stack(sums, dim=1)


class _Misfits(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        objects: Tensor,
        probe: Tensor,
        background: Tensor | None,
        modelled: Modelled,
        propagator: Propagator,
        patterns: Patterns,
        kind: str,
    ) -> Tensor:
        misfit, slope = TERMS[kind](modelled.intensity_BNN, patterns.counts_BNN, patterns.modulus_BNN)
        if patterns.mask_NN is not None:
            slope = torch.where(patterns.mask_NN, slope, torch.zeros_like(slope))
        ctx.save_for_backward(objects, probe, modelled.waves_PBNN, slope)
        ctx.propagator = propagator
        return sum_valid(misfit, patterns.mask_NN)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        objects, probe, waves, slope = ctx.saved_tensors
        weight = slope * (2 * grads[0])[:, None, None]
        exit_waves = ctx.propagator.backward(waves * weight)
        of_objects = of_probe = of_background = None
        if ctx.needs_input_grad[0]:
            of_objects = (probe.conj()[:, None] * exit_waves).sum(dim=0)
        if ctx.needs_input_grad[1]:
            of_probe = (objects.conj() * exit_waves).sum(dim=1)
        if ctx.needs_input_grad[2]:
            of_background = weight.sum(dim=0) / 2
        return of_objects, of_probe, of_background, None, None, None, None
