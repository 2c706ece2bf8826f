"""Measured patterns, prepared once for many comparisons with a model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ptycho_dist.physics.likelihood import modulus

_AXES = (-2, -1)


@dataclass(frozen=True)
class Patterns:
    """Patterns with zero frequency at the corner, where a Fourier transform puts it.

    Parameters
    ----------
    counts_BNN
        float, shape (B, N, N): photon counts.
    modulus_BNN
        float, shape (B, N, N): their square roots.
    mask_NN
        bool, shape (N, N): valid pixels; None where all are.
    """

    counts_BNN: Tensor
    modulus_BNN: Tensor
    mask_NN: Tensor | None

    @classmethod
    def of(cls, counts_BNN: Float[Tensor, "B N N"], mask_NN: Bool[Tensor, "N N"] | None = None) -> Patterns:
        """Prepare counts and mask whose zero frequency is at the array's centre."""
        counts = torch.fft.ifftshift(counts_BNN, dim=_AXES)
        mask = None if mask_NN is None else torch.fft.ifftshift(mask_NN, dim=_AXES)
        return cls(counts, modulus(counts), mask)
