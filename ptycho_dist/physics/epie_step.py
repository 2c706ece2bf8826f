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
from jaxtyping import Complex, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ptycho_dist.physics.misfit import squared
from ptycho_dist.physics.patterns import Patterns
from ptycho_dist.physics.probe import probe_intensity

_REGULARISATION = 0.05
_TINY = 1e-3
"""Counts that keep the division finite in the dark."""


def backproject(
    measured: Patterns,
    probe_PNN: Complex[Tensor, "P N N"],
    side: int,
    patches_Bnn: Complex[Tensor, "B n n"] | None = None,
    background_NN: Float[Tensor, "N N"] | None = None,
) -> Complex[Tensor, "B s s"]:
    """Relative correction that one pattern asks of the object in the centre of its frame.

    Parameters
    ----------
    measured
        The patterns.
    probe_PNN : Tensor, complex, shape (P, N, N)
        Probe modes whose far field squares to counts; not differentiated.
    side
        Side s of the central square that is returned.
    patches_Bnn : Tensor, complex, shape (B, n, n), n <= s, optional
        Present object in the centre of the frame, 1 around it; an object of ones where not given. Differentiable.
    background_NN : Tensor, float, shape (N, N), optional
        Counts that do not come from the object, zero frequency at the corner; not differentiated.

    Returns
    -------
    Tensor, complex, shape (B, s, s)
        (Better object minus present object) over present object, damped where the probe is dark.
    """
    probe = probe_PNN.detach()
    background = None if background_NN is None else background_NN.detach()
    if patches_Bnn is None:
        spectrum = torch.fft.fft2(probe[:, None], norm="ortho")
        return _back(spectrum, _ratio(spectrum, measured, background).ratio, probe, side)
    correction: Tensor = _Correction.apply(patches_Bnn, probe, background, measured, side)
    return correction


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


def _ratio(spectrum_PBNN: Tensor, measured: Patterns, background_NN: Tensor | None) -> _Ratio:
    intensity = squared(spectrum_PBNN) + _TINY
    if background_NN is not None:
        intensity += background_NN
    ratio = measured.modulus_BNN * torch.rsqrt(intensity)
    if measured.mask_NN is not None:
        ratio = ratio * measured.mask_NN
    slope = ratio / intensity
    ratio = ratio - (1 if measured.mask_NN is None else measured.mask_NN.to(ratio.dtype))
    return _Ratio(ratio, slope)


def _damped(probe_PNN: Tensor, side: int) -> Tensor:
    """Factor (P, 1, s, s) from a change of the wave to one of the object."""
    bright = probe_intensity(probe_PNN)
    return centre(probe_PNN.conj() / (bright + _REGULARISATION * bright.max()), side)[:, None]


def _back(spectrum_PBNN: Tensor, ratio_BNN: Tensor, probe_PNN: Tensor, side: int) -> Tensor:
    waves = torch.fft.ifft2(spectrum_PBNN * ratio_BNN, norm="ortho")
    return (centre(waves, side) * _damped(probe_PNN, side)).sum(dim=0)


def _reciprocal(values: Tensor) -> Tensor:
    """One over complex values, without the slow complex division."""
    conjugate = values.conj()
    return conjugate * (values * conjugate).real.reciprocal()


class _Correction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, patches: Tensor, probe: Tensor, background: Tensor | None, measured: Patterns, side: int
    ) -> Tensor:
        waves = probe[:, None].repeat(1, len(patches), 1, 1)
        n = patches.shape[-1]
        centre(waves, n).mul_(patches)
        spectrum = torch.fft.fft2(waves, norm="ortho")
        ratio, slope = _ratio(spectrum, measured, background)
        correction = _back(spectrum, ratio, probe, side)
        inverse = _reciprocal(patches)
        near = centre(correction, n)
        near.mul_(inverse)
        ctx.save_for_backward(probe, spectrum, ratio, slope, inverse, near * inverse)
        return correction

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        probe, spectrum, ratio, slope, inverse, by_patches = ctx.saved_tensors
        side, n = grads[0].shape[-1], inverse.shape[-1]
        grad = grads[0].clone()
        near = centre(grad, n)
        of_patches = -near * by_patches.conj()
        near.mul_(inverse.conj())
        frame = torch.zeros_like(spectrum)
        torch.mul(grad, _damped(probe, side).conj(), out=centre(frame, side))
        back = torch.fft.fft2(frame, norm="ortho")
        along = (back * spectrum.conj()).real.sum(dim=0) * slope
        waves = torch.fft.ifft2(back * ratio - spectrum * along, norm="ortho")
        of_patches += (centre(waves, n) * centre(probe, n).conj()[:, None]).sum(dim=0)
        return of_patches, None, None, None, None
