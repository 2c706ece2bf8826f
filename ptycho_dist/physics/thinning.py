"""Photon counts split into two measurements that know nothing of each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from ptycho_dist.errors import PhysicsError

_STREAM = 0x7417


def thin(photons_BNN: Int[np.ndarray, "B N N"], numbers: Int[np.ndarray, " B"], seed: int) -> NDArray[np.int64]:
    """Give each photon to the first of two halves with probability 1/2; the second has the others.

    Where the photons of a pixel are Poisson, so are those of each half, with half the mean, and the halves are
    independent (binomial thinning: Kingman, Poisson Processes (1993), Section 5.1).

    Parameters
    ----------
    photons_BNN : ndarray, int, shape (B, N, N)
        Photons of some patterns.
    numbers : ndarray, int, shape (B,)
        Their numbers in the scan. The halves of a pattern depend on its number, its photons and the seed only.
    seed
        Another seed gives other halves.

    Returns
    -------
    ndarray, int64, shape (B, N, N)
        Photons of the first half.

    Raises
    ------
    PhysicsError
        If there are fewer than no photons in a pixel.
    """
    if photons_BNN.size and photons_BNN.min() < 0:
        msg = f"a pattern holds {photons_BNN.min()} photons in a pixel; expected 0 or more. Check the scan's counts."
        raise PhysicsError(msg)
    first = np.zeros(photons_BNN.shape, np.int64)
    for half, photons, number in zip(first, photons_BNN, numbers.tolist(), strict=True):
        lit = photons > 0
        half[lit] = np.random.default_rng((_STREAM, seed, number)).binomial(photons[lit], 0.5)
    return first


@dataclass(frozen=True)
class Half:
    """One of the two halves of a measurement.

    Parameters
    ----------
    counts_per_photon
        Counts in the scan that one photon makes; all counts are whole multiples of it.
    seed
        As of :func:`thin`.
    is_second
        Whether it is the second half.
    """

    counts_per_photon: float
    seed: int
    is_second: bool = False

    def of(self, counts_BNN: NDArray[np.float32], numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Give the counts of this half, from those of the whole patterns with some numbers."""
        photons = np.rint(counts_BNN / self.counts_per_photon).astype(np.int64)
        first = thin(photons, numbers, self.seed)
        own = photons - first if self.is_second else first
        return np.asarray(own * self.counts_per_photon, np.float32)
