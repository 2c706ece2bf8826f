"""What a network sees, and how its answer becomes an object patch.

Derivatives are written out: automatic ones fill and add whole complex frames for each real or imaginary part.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ptycho_dist.physics.epie_step import centre

FEATURES = 6
"""Real input channels of a network: the correction to the object, to the wave, and the present exponent."""
EXCHANGE_FEATURES = 8
"""Where patches are exchanged: the present object takes the place of the exponent, and two say how much light."""
_DECADES = 4.0
_EXACT, _BOUND = 3.0, 5.0
_TINY = 1e-9


def features(
    correction_Bff: Complex[Tensor, "B f f"], probe_NN: Complex[Tensor, "N N"], exponent_Bnn: Complex[Tensor, "B n n"]
) -> Float[Tensor, "B 6 f f"]:
    """Real and imaginary parts of the correction, of the correction times probe, and of the exponent in the middle.

    Differentiable in correction and exponent.
    """
    wave = relative_wave(probe_NN, correction_Bff.shape[-1])
    channels: Tensor = _Features.apply(correction_Bff, wave, exponent_Bnn)
    return channels


def exchange_features(
    correction_Bff: Complex[Tensor, "B f f"],
    wave_ff: Complex[Tensor, "f f"],
    present_Bff: Complex[Tensor, "B f f"],
    light_B2ff: Float[Tensor, "B 2 f f"],
) -> Float[Tensor, "B 8 f f"]:
    """Real and imaginary parts of correction, correction times probe, and present object less 1; and the light.

    The wave is that of :func:`relative_wave`.

    The present object is turned to the phase 0 where the probe is bright, for no pattern tells its phase.
    """
    mean = (wave_ff.abs().square() * present_Bff).sum(dim=(-2, -1), keepdim=True)
    turned = present_Bff * (mean.conj() / mean.abs().clamp_min(_TINY)) - 1
    parts = [part for image in (correction_Bff, correction_Bff * wave_ff, turned) for part in (image.real, image.imag)]
    return torch.cat([torch.stack(parts, dim=1), light_B2ff], dim=1)


def relative_wave(probe_NN: Complex[Tensor, "N N"], side: int) -> Complex[Tensor, "f f"]:
    """Middle of a probe, relative to its largest magnitude."""
    wave: Tensor = centre(probe_NN / probe_NN.abs().max(), side)
    return wave


def light_channel(photons: Float[Tensor, "*B f f"]) -> Float[Tensor, "*B f f"]:
    """Photons that fell on object pixels as a number of order 1, from 0 in the dark."""
    return torch.log10(1 + photons) / _DECADES


def bounded(exponent_Bnn: Complex[Tensor, "B n n"]) -> Complex[Tensor, "B n n"]:
    """Exponents whose real part stays between -5 and 5; unchanged where it lies between -3 and 3.

    So the magnitude of a patch is exact from 0.05 to 20, and never beyond 0.0067 and 148: what one stage leaves, the
    next divides by and squares, which must not overflow. In between a hyperbolic tangent approaches the bound.
    """
    kept: Tensor = _Bounded.apply(exponent_Bnn)
    return kept


def exponential(exponent_Bnn: Complex[Tensor, "B n n"]) -> Complex[Tensor, "B n n"]:
    """Exponential of complex numbers (many times faster on a CPU than ``torch.exp`` of them)."""
    patches: Tensor = _Exponential.apply(exponent_Bnn)
    return patches


class _Features(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, correction: Tensor, wave: Tensor, exponent: Tensor) -> Tensor:
        channels = correction.real.new_zeros(len(correction), FEATURES, *correction.shape[1:])
        seen = (correction, correction * wave, exponent)
        for first, image in zip(range(0, FEATURES, 2), seen, strict=True):
            inside = centre(channels, image.shape[-1])
            inside[:, first].copy_(image.real)
            inside[:, first + 1].copy_(image.imag)
        ctx.save_for_backward(wave)
        ctx.side = exponent.shape[-1]
        return channels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        (wave,) = ctx.saved_tensors
        of_correction = of_exponent = None
        if ctx.needs_input_grad[0]:
            of_correction = _pair(grads[0], 2) * wave.conj()
            of_correction += _pair(grads[0], 0)
        if ctx.needs_input_grad[2]:
            of_exponent = _pair(centre(grads[0], ctx.side), 4)
        return of_correction, None, of_exponent


class _Bounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, exponent: Tensor) -> Tensor:
        log = exponent.real
        inside = log.clamp(-_EXACT, _EXACT)
        share = torch.tanh((log - inside) / (_BOUND - _EXACT))
        ctx.save_for_backward(share)
        return torch.complex(inside + (_BOUND - _EXACT) * share, exponent.imag)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor]:
        (share,) = ctx.saved_tensors
        return (torch.complex(grads[0].real * (1 - share.square()), grads[0].imag),)


class _Exponential(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, exponent: Tensor) -> Tensor:
        patches = torch.polar(torch.exp(exponent.real), exponent.imag)
        ctx.save_for_backward(patches)
        return patches

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor]:
        (patches,) = ctx.saved_tensors
        return (grads[0] * patches.conj(),)


def _pair(channels: Tensor, first: int) -> Tensor:
    return torch.complex(channels[:, first], channels[:, first + 1])
