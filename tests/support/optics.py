"""The forward model and the misfits as plain expressions that automatic differentiation follows."""

from __future__ import annotations

import torch
from torch import Tensor

from ptycho_dist.physics.likelihood import TERMS, modulus, sum_valid


def far_field_counts(waves_PBNN: Tensor) -> Tensor:
    """Far-field intensity of exit waves, summed over modes; zero frequency at the centre."""
    spectrum = torch.fft.fft2(torch.fft.ifftshift(waves_PBNN, dim=(-2, -1)), norm="ortho")
    return torch.fft.fftshift(spectrum.abs().square().sum(dim=0), dim=(-2, -1))


def misfit_of(kind: str, model_BNN: Tensor, counts_BNN: Tensor, mask_NN: Tensor | None = None) -> Tensor:
    """Misfit of each pattern, summed over valid pixels."""
    return sum_valid(TERMS[kind](model_BNN, counts_BNN, modulus(counts_BNN))[0], mask_NN)
