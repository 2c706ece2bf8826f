"""Measured patterns, prepared once for many comparisons with a model."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from ptycho_dist.physics.likelihood import modulus
from ptycho_dist.physics.propagators import Propagator


@dataclass(frozen=True)
class Patterns:
    """Patterns in the detector order of a propagator.

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
    def of(
        cls, counts_BNN: Float[Tensor, "B N N"], propagator: Propagator, mask_NN: Bool[Tensor, "N N"] | None = None
    ) -> Patterns:
        """Prepare counts and mask as scans have them: zero frequency, or the beam, at the array's centre."""
        counts = propagator.arrange(counts_BNN)
        mask = None if mask_NN is None else propagator.arrange(mask_NN)
        return cls(counts, modulus(counts), mask)
