"""What two halves of the photons were made into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ComplexArray = NDArray[np.complex128]


@dataclass(frozen=True)
class Halves:
    """Objects (H, W) of two halves of the photons.

    Parameters
    ----------
    found
        Made as the whole was.
    plain
        Made without regularisation; None where the whole was, too.
    find_shift
        Whether a shift against the whole is to be removed, as where the probe was refined.
    """

    found: tuple[ComplexArray, ComplexArray]
    plain: tuple[ComplexArray, ComplexArray] | None
    find_shift: bool
