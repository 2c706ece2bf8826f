"""Brightness of each pattern, and counts that do not come from the object."""

from __future__ import annotations

import torch
from torch import Tensor

from ptycho_dist.refine.exit_wave import Batch, Misfit

_TINY = 1e-6


def flux(batch: Batch, seen: Misfit) -> Tensor:
    """Factor (B,) on the illumination of each of this rank's patterns that explains its photons best.

    The least-squares fit of modelled to measured amplitudes, squared.
    """
    root, amplitude = seen.root_BNN, batch.amplitude_BNN
    if batch.mask_NN is not None:
        root, amplitude = root * batch.mask_NN, amplitude * batch.mask_NN
    fitted: Tensor = torch.linalg.vecdot(amplitude.flatten(1), root.flatten(1))
    modelled = torch.linalg.vecdot(root.flatten(1), root.flatten(1)).clamp_min(_TINY)
    factor: Tensor = (fitted / modelled).square()
    return factor.double().cpu()


def background_ratio(batch: Batch, seen: Misfit) -> Tensor:
    """Measured over modelled counts (N, N), summed over this rank's patterns.

    Divided by their number it is the factor of an expectation-maximisation step of the background under
    Poisson counts (Shepp and Vardi, IEEE Trans. Med. Imaging 1, 113 (1982), DOI 10.1109/TMI.1982.4307558).
    """
    return (batch.amplitude_BNN / seen.root_BNN).square().sum(dim=0)
