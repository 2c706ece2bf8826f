"""Patterns that a file stores in another order than they were measured in, seen by their numbers in the measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.base import PatternSource
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import IntArray


class MeasuredOrder:
    """The patterns of a source in the order in which they were measured; can be pickled.

    Parameters
    ----------
    source
        Patterns as they are stored.
    place
        int64, shape (B,): where the source holds each pattern; a permutation.
    """

    def __init__(self, source: PatternSource, place: IntArray) -> None:
        self.source, self.place = source, place

    @property
    def shape(self) -> tuple[int, int, int]:
        """(B, N, N)."""
        return self.source.shape

    def read(self, index: IntArray) -> NDArray[Any]:
        """Return the raw patterns of some numbers of the measurement, shape (len(index), N, N)."""
        return self.source.read(self.place[index])

    def unwritten(self) -> IntArray:
        """Return the numbers of patterns that were never written."""
        return np.flatnonzero(np.isin(self.place, self.source.unwritten()))

    def close(self) -> None:
        """Release what the source holds."""
        self.source.close()


def place_of(measured_index: IntArray) -> IntArray:
    """Return where each number of the measurement is stored; the inverse of a permutation, int64, shape (B,)."""
    place = np.empty(len(measured_index), np.int64)
    place[measured_index] = np.arange(len(measured_index))
    return place


def checked_index(path: Path, values: NDArray[Any], n_patterns: int) -> IntArray:
    """Return numbers of a measurement, int64, shape (B,), after a check that each is there once.

    Raises
    ------
    DataFormatError
        If they are no permutation of 0 to B - 1.
    """
    is_whole = values.shape == (n_patterns,) and values.dtype.kind in "iu"
    if not is_whole or not np.array_equal(np.sort(values), np.arange(n_patterns)):
        msg = (
            f"'measured_index' in {path} is {values.dtype} {values.shape}; expected each number from 0 to "
            f"{n_patterns - 1} once. Write the scan again."
        )
        raise DataFormatError(msg)
    return values.astype(np.int64)
