"""What photon noise alone leaves between measured and modelled amplitudes."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import gammaln
from torch import Tensor

_STEP, _LAST = 0.02, 8.0
"""Spacing and end of the table, in square roots of counts."""
_MOST_COUNTS = 200


def expected_misfit(counts_BNN: Float[Tensor, "*B N N"], counts_per_photon: float = 1.0) -> Float[Tensor, "*B N N"]:
    r"""Mean of :math:`(\sqrt{n} - \sqrt{I})^2` over Poisson counts n of mean I, exact at low counts.

    :math:`E = 2 I - 2 \sqrt{I} \, E[\sqrt{n}]`: 2 I where hardly a photon is expected, 0.45 at one photon, and
    :math:`1/4 + 7/(64 I) + 75/(512 I^2)` from 64 photons on, where the square root has made the variance constant
    (Bartlett, Suppl. J. R. Stat. Soc. 3, 68 (1936), DOI 10.2307/2983678). In between E / I is interpolated in a
    table of its sums, to five digits.

    Parameters
    ----------
    counts_BNN : Tensor, float, shape (..., N, N)
        Modelled counts I, at least 0.
    counts_per_photon
        Counts g that a photon makes: n / g is Poisson, and E is g times that of I / g.

    Returns
    -------
    Tensor, float64, shape (..., N, N)
        In counts.
    """
    photons = counts_BNN.double() / counts_per_photon
    root = photons.sqrt()
    table = torch.from_numpy(_table()).to(root.device)
    place = (root / _STEP).clamp_max(len(table) - 2)
    low = place.floor().long()
    ratio = torch.lerp(table[low], table[low + 1], place - low)
    many = photons.clamp_min(_LAST**2)
    bright = 0.25 + 7 / (64 * many) + 75 / (512 * many.square())
    return counts_per_photon * torch.where(root < _LAST, ratio * photons, bright)


@cache
def _table() -> np.ndarray:
    """E / I at square roots of I from 0 on, float64; 2 at 0."""
    means = np.arange(0.0, _LAST + 2 * _STEP, _STEP) ** 2
    n = np.arange(_MOST_COUNTS)
    logs = n * np.log(np.maximum(means[:, None], 1e-300)) - means[:, None] - gammaln(n + 1)
    root_mean = (np.sqrt(n) * np.exp(logs)).sum(axis=1)
    safe = np.maximum(means, 1e-300)
    return np.where(means > 0, 2 - 2 * root_mean / np.sqrt(safe), 2.0)
