"""Free-space propagation between object and detector."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

_AXES = (-2, -1)


def far_field(wave: Complex[Tensor, "*B N N"]) -> Complex[Tensor, "*B N N"]:
    """Propagate an exit wave to the far field; DC at the array centre.

    Orthonormal, so the energy is kept (Fraunhofer diffraction: Goodman,
    Introduction to Fourier Optics, 3rd ed. (2005), Eq. 4-25).
    """
    spectrum = torch.fft.fft2(torch.fft.ifftshift(wave, dim=_AXES), norm="ortho")
    shifted: Tensor = torch.fft.fftshift(spectrum, dim=_AXES)
    return shifted


def far_field_intensity(wave_PBNN: Complex[Tensor, "P B N N"]) -> Float[Tensor, "B N N"]:
    """Sum over incoherent modes of the far-field intensity; DC at the array centre.

    Where the wave's origin lies only turns phases, so one shift is enough.
    """
    spectrum = torch.fft.fft2(wave_PBNN, norm="ortho")
    intensity = (spectrum.real.square() + spectrum.imag.square()).sum(dim=0)
    shifted: Tensor = torch.fft.fftshift(intensity, dim=_AXES)
    return shifted
