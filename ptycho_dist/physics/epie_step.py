"""What one pattern says of the object before anything is learnt.

The modelled far field is given the measured moduli, taken back to the object
plane, and divided by the probe: one step of the ePIE update (Maiden and
Rodenburg, Ultramicroscopy 109, 1256 (2009), Eq. 6,
DOI 10.1016/j.ultramic.2009.05.012). A network that sees this correction needs
not learn the Fourier transform.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Complex
from torch import Tensor
from torch.autograd.function import once_differentiable

from ptycho_dist.physics.intensity import ForwardModel, Modelled
from ptycho_dist.physics.likelihood import Patterns
from ptycho_dist.physics.probe import probe_intensity
from ptycho_dist.physics.propagators import Propagator

_REGULARISATION = 0.05
_OPAQUE, _LARGEST = 1e-6, 4.0
_TINY = 1e-3
"""Counts that keep the division finite in the dark."""


def backproject(
    patterns: Patterns, model: ForwardModel, side: int, patches_Bnn: Complex[Tensor, "B n n"] | None = None
) -> Complex[Tensor, "B s s"]:
    """Relative correction that one pattern asks of the object in the centre of its frame.

    Parameters
    ----------
    patterns
        The patterns, in the detector order of the model's propagator.
    model
        Probe, propagation and background; not differentiated.
    side
        Side s of the central square that is returned.
    patches_Bnn : Tensor, complex, shape (B, n, n), n <= s, optional
        Present object in the centre of the frame, 1 around it; an object of ones where not given. Differentiable.

    Returns
    -------
    Tensor, complex, shape (B, s, s)
        (Better object minus present object) over present object, damped where the probe is dark.
    """
    fixed = model.fixed()
    if patches_Bnn is None:
        N = fixed.probe_PNN.shape[-1]
        made = Modelled.of(fixed.probe_PNN.new_ones(1, N, N), fixed)
        ratio = _ratio(made.intensity_BNN, patterns).ratio
        return _back(made.waves_PBNN, ratio, fixed.propagator, damped(fixed.probe_PNN, side))
    correction: Tensor = _Correction.apply(patches_Bnn, fixed, patterns, side)
    return correction


def correction_of(
    patterns: Patterns,
    modelled: Modelled,
    propagator: Propagator,
    objects_BNN: Complex[Tensor, "B N N"],
    damping_P1ss: Tensor,
) -> Complex[Tensor, "B s s"]:
    """Relative correction that each pattern asks of a present object that fills its frame; not differentiable.

    The magnitude of what is returned approaches 4, which a better object hardly ever needs: where the present object is
    nearly opaque a relative change has no bound.

    Parameters
    ----------
    patterns
        The patterns, in the detector order of the propagator.
    modelled
        What the forward model makes of the object.
    propagator
        That of the model.
    objects_BNN : Tensor, complex, shape (B, N, N)
        Present object.
    damping_P1ss : Tensor, complex, shape (P, 1, s, s)
        What :func:`damped` gives of the probe.
    """
    with torch.no_grad():
        step = _back(modelled.waves_PBNN, _ratio(modelled.intensity_BNN, patterns).ratio, propagator, damping_P1ss)
        present = centre(objects_BNN, damping_P1ss.shape[-1])
        relative = step * present.conj() / (present.abs().square() + _OPAQUE)
        size = relative.abs()
        limited: Tensor = relative * (_LARGEST * torch.tanh(size / _LARGEST) / size.clamp_min(_OPAQUE))
        return limited


def centre(images: Tensor, side: int) -> Tensor:
    """Central square of images (..., N, N)."""
    margin = (images.shape[-1] - side) // 2
    inside = slice(margin, margin + side)
    return images[..., inside, inside]


class _Ratio(NamedTuple):
    ratio: Tensor
    """Measured over modelled modulus, minus 1; 0 where the mask hides it."""
    slope: Tensor
    """Its derivative by the modelled intensity, times -2."""


def _ratio(intensity_BNN: Tensor, patterns: Patterns) -> _Ratio:
    intensity = intensity_BNN + _TINY
    ratio = patterns.modulus_BNN * torch.rsqrt(intensity)
    if patterns.mask_NN is not None:
        ratio = ratio * patterns.mask_NN
    slope = ratio / intensity
    ratio = ratio - (1 if patterns.mask_NN is None else patterns.mask_NN.to(ratio.dtype))
    return _Ratio(ratio, slope)


def damped(probe_PNN: Complex[Tensor, "P N N"], side: int) -> Complex[Tensor, "P 1 s s"]:
    """Factor (P, 1, s, s) from a change of the wave to one of the object."""
    bright = probe_intensity(probe_PNN)
    return centre(probe_PNN.conj() / (bright + _REGULARISATION * bright.max()), side)[:, None]


def _back(waves_PBNN: Tensor, ratio_BNN: Tensor, propagator: Propagator, damping_P1ss: Tensor) -> Tensor:
    exit_waves = propagator.backward(waves_PBNN * ratio_BNN)
    return (centre(exit_waves, damping_P1ss.shape[-1]) * damping_P1ss).sum(dim=0)


def _reciprocal(values: Tensor) -> Tensor:
    """One over complex values, without the slow complex division."""
    conjugate = values.conj()
    return conjugate * (values * conjugate).real.reciprocal()


class _Correction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, patches: Tensor, model: ForwardModel, patterns: Patterns, side: int) -> Tensor:
        n, N = patches.shape[-1], model.probe_PNN.shape[-1]
        objects = patches.new_ones(len(patches), N, N)
        centre(objects, n).copy_(patches)
        waves, intensity = Modelled.of(objects, model)
        ratio, slope = _ratio(intensity, patterns)
        correction = _back(waves, ratio, model.propagator, damped(model.probe_PNN, side))
        inverse = _reciprocal(patches)
        near = centre(correction, n)
        near.mul_(inverse)
        ctx.model = model
        ctx.save_for_backward(waves, ratio, slope, inverse, near * inverse)
        return correction

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        waves, ratio, slope, inverse, by_patches = ctx.saved_tensors
        probe, propagator = ctx.model.probe_PNN, ctx.model.propagator
        side, n = grads[0].shape[-1], inverse.shape[-1]
        grad = grads[0].clone()
        near = centre(grad, n)
        of_patches = -near * by_patches.conj()
        near.mul_(inverse.conj())
        frame = torch.zeros_like(waves)
        torch.mul(grad, damped(probe, side).conj(), out=centre(frame, side))
        back = propagator.forward(frame)
        along = (back * waves.conj()).real.sum(dim=0) * slope
        exit_waves = propagator.backward(back * ratio - waves * along)
        of_patches += (centre(exit_waves, n) * centre(probe, n).conj()[:, None]).sum(dim=0)
        return of_patches, None, None, None
