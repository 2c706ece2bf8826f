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
_AXES = (-2, -1)


def backproject(
    counts_BNN: Float[Tensor, "B N N"],
    probe_PNN: Complex[Tensor, "P N N"],
    mask_NN: Bool[Tensor, "N N"] | None = None,
) -> Complex[Tensor, "B N N"]:
    """Correction to an object of ones that one pattern asks for.

    Parameters
    ----------
    counts_BNN : Tensor, float, shape (B, N, N)
        Photon counts, DC at the centre.
    probe_PNN : Tensor, complex, shape (P, N, N)
        Probe modes whose far field squares to counts.
    mask_NN : Tensor, bool, shape (N, N), optional
        Valid pixels; elsewhere the modelled modulus is kept.

    Returns
    -------
    Tensor, complex, shape (B, N, N)
        Estimate of the object minus 1, damped where the probe is dark.
    """
    wave = torch.fft.fft2(probe_PNN, norm="ortho")
    modulus = torch.sqrt((wave.real.square() + wave.imag.square()).sum(dim=0))
    ratio = torch.fft.ifftshift(torch.sqrt(counts_BNN), dim=_AXES) / (modulus + _floor(modulus)) - 1
    if mask_NN is not None:
        ratio = ratio * torch.fft.ifftshift(mask_NN, dim=_AXES)
    intensity = probe_intensity(probe_PNN)
    damped = intensity + _REGULARISATION * intensity.max()
    correction = torch.zeros_like(ratio, dtype=probe_PNN.dtype)
    for mode, spectrum in zip(probe_PNN, wave, strict=True):
        correction = correction + torch.fft.ifft2(ratio * spectrum, norm="ortho") * (mode.conj() / damped)
    return correction


def _floor(modulus: Tensor) -> Tensor:
    return 1e-3 * modulus.max()
