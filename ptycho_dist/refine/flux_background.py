"""Brightness of each pattern, and counts that do not come from the object."""

from __future__ import annotations

import torch
from torch import Tensor

from ptycho_dist.refine.exit_wave import Batch, Residual

_TINY = 1e-6


def flux(batch: Batch, residual: Residual) -> Tensor:
    """Factor (B,) on the illumination of each of this rank's patterns that explains its photons best.

    The least-squares fit of modelled to measured amplitudes, squared.
    """
    modelled, measured = residual.modelled_BNN, batch.modulus_BNN
    if batch.mask_NN is not None:
        modelled, measured = modelled * batch.mask_NN, measured * batch.mask_NN
    fitted: Tensor = torch.linalg.vecdot(measured.flatten(1), modelled.flatten(1))
    power = torch.linalg.vecdot(modelled.flatten(1), modelled.flatten(1)).clamp_min(_TINY)
    factor: Tensor = (fitted / power).square()
    return factor.double().cpu()


def background_ratio(batch: Batch, residual: Residual) -> Tensor:
    """Measured over modelled counts (N, N), summed over this rank's patterns.

    Divided by their number it is the factor of an expectation-maximisation step of the background under
    Poisson counts (Shepp and Vardi, IEEE Trans. Med. Imaging 1, 113 (1982), DOI 10.1109/TMI.1982.4307558).
    """
    return (batch.modulus_BNN / residual.modelled_BNN).square().sum(dim=0)
