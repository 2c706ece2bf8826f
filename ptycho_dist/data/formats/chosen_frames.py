"""Some frames of another source, in any order."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.base import PatternSource
from ptycho_dist.types import IntArray


@runtime_checkable
class Chosen(Protocol):
    """A source of some frames of another one."""

    @property
    def rows(self) -> IntArray:
        """Number in the source of each frame."""

    @property
    def n_all(self) -> int:
        """Frames there are in the source."""


class ChosenFrames:
    """Frames of a source by their numbers there; can be pickled.

    Parameters
    ----------
    source
        All frames.
    rows
        int64, shape (n,): number in the source of each frame.
    """

    def __init__(self, source: PatternSource, rows: IntArray) -> None:
        self._source, self.rows = source, rows

    @property
    def n_all(self) -> int:
        """Frames there are in the source."""
        return self._source.shape[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, H, W)."""
        return (len(self.rows), *self._source.shape[1:])

    def read(self, index: IntArray) -> NDArray[Any]:
        """Return the raw frames ``index``, shape (len(index), H, W)."""
        return self._source.read(self.rows[index])

    def unwritten(self) -> IntArray:
        """Return which of the frames were never written."""
        return np.flatnonzero(np.isin(self.rows, self._source.unwritten()))

    def close(self) -> None:
        """Release what the source holds."""
        self._source.close()


def chosen(source: PatternSource, rows: IntArray) -> PatternSource:
    """Return the frames ``rows`` of a source; the source itself where these are all of them in their order."""
    is_all = len(rows) == source.shape[0] and np.array_equal(rows, np.arange(len(rows)))
    return source if is_all else ChosenFrames(source, rows)
