"""Checks that the readers of reconstructions share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptycho_dist.data.formats.base import ComplexArray
from ptycho_dist.errors import DataFormatError


def single(path: Path, key: str, array: NDArray[Any], ndim: int) -> ComplexArray:
    """Return a complex array of ``ndim`` axes; leading axes of length 1 beyond these are dropped.

    Raises
    ------
    DataFormatError
        If it is not complex, or has several layers or probes.
    """
    extra = array.ndim - ndim
    if array.dtype.kind != "c" or extra < 0 or any(length != 1 for length in array.shape[:extra]):
        msg = (
            f"{key!r} in {path} is {array.dtype} {array.shape}; expected complex with {ndim} axes, and others of "
            "length 1 before them. Export a single layer and probe."
        )
        raise DataFormatError(msg)
    return np.asarray(array, np.complex64).reshape(array.shape[extra:])


def square_pixel(path: Path, sides_m: ArrayLike) -> float:
    """Return the side of object pixels, metres.

    Raises
    ------
    DataFormatError
        If the sides are unequal or not positive.
    """
    sides = np.atleast_1d(np.asarray(sides_m, np.float64)).ravel()
    side = float(sides[0]) if sides.size else math.nan
    if not np.allclose(sides, side, rtol=1e-6, atol=0) or not (math.isfinite(side) and side > 0):
        msg = f"pixels of the object in {path} have sides {sides.tolist()} m; expected equal ones > 0. Resample it."
        raise DataFormatError(msg)
    return side
