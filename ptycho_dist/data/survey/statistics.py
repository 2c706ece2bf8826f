"""Statistics that a few wild values do not change."""

from __future__ import annotations

import numpy as np

from ptycho_dist.types import FloatArray

_NORMAL = 1.4826
"""Standard deviation over median absolute deviation of a normal distribution."""


def middle_and_spread(values: FloatArray) -> tuple[float, float]:
    """Return the median of some values, and the standard deviation that their median absolute deviation stands for."""
    middle = float(np.median(values))
    return middle, _NORMAL * float(np.median(np.abs(values - middle)))
