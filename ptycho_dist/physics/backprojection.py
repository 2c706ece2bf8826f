"""What one pattern says of the object before anything is learnt.

The empty object's far field is given the measured moduli, taken back to the
object plane, and divided by the probe: one step of the ePIE update from an
object of ones (Maiden and Rodenburg, Ultramicroscopy 109, 1256 (2009), Eq. 6,
DOI 10.1016/j.ultramic.2009.05.012). A network that sees this correction needs
not learn the Fourier transform.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from ptycho_dist.physics.probe import probe_intensity

_REGULARISATION = 0.05
_TINY = 1e-3
"""Counts that keep the division finite in the dark."""
_AXES = (-2, -1)


def backproject(
    counts_BNN: Float[Tensor, "B N N"],
    probe_PNN: Complex[Tensor, "P N N"],
    mask_NN: Bool[Tensor, "N N"] | None = None,
    objects_BNN: Complex[Tensor, "B N N"] | None = None,
) -> Complex[Tensor, "B N N"]:
    """Correction that one pattern asks of an object.

    Parameters
    ----------
    counts_BNN : Tensor, float, shape (B, N, N)
        Photon counts, DC at the centre.
    probe_PNN : Tensor, complex, shape (P, N, N)
        Probe modes whose far field squares to counts.
    mask_NN : Tensor, bool, shape (N, N), optional
        Valid pixels; elsewhere the modelled modulus is kept.
    objects_BNN : Tensor, complex, shape (B, N, N), optional
        Present object of each pattern; an object of ones where not given.

    Returns
    -------
    Tensor, complex, shape (B, N, N)
        Better object minus present object, damped where the probe is dark.
    """
    waves = probe_PNN[:, None] if objects_BNN is None else probe_PNN[:, None] * objects_BNN
    spectrum = torch.fft.fft2(waves, norm="ortho")
    intensity = (spectrum.real.square() + spectrum.imag.square()).sum(dim=0)
    modulus = torch.sqrt(intensity + _TINY)
    ratio = torch.fft.ifftshift(torch.sqrt(counts_BNN), dim=_AXES) / modulus - 1
    if mask_NN is not None:
        ratio = ratio * torch.fft.ifftshift(mask_NN, dim=_AXES)
    bright = probe_intensity(probe_PNN)
    damped = bright + _REGULARISATION * bright.max()
    corrected = torch.fft.ifft2(ratio * spectrum, norm="ortho")
    correction: Tensor = (corrected * (probe_PNN.conj() / damped)[:, None]).sum(dim=0)
    return correction
