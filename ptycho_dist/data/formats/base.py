"""What every reader delivers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.types import FloatArray, IntArray

__all__ = ["NAN", "BoolArray", "ComplexArray", "ObjectSource", "PatternSource", "RawScan", "ScanOptions", "Turn"]

ComplexArray = NDArray[np.complex64]
BoolArray = NDArray[np.bool_]
NAN = float("nan")


class Turned(Protocol):
    """Settings that say, among others, how patterns are turned."""

    @property
    def transpose(self) -> bool:
        """Whether rows and columns are exchanged."""

    @property
    def flip_rows(self) -> bool:
        """Whether the order of rows is reversed."""

    @property
    def flip_columns(self) -> bool:
        """Whether the order of columns is reversed."""


@dataclass(frozen=True)
class Turn:
    """How the patterns of a file are turned: first transposed, then flipped about the zero frequency."""

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @classmethod
    def of(cls, said: Turned) -> Turn:
        """Take it from settings."""
        return cls(said.transpose, said.flip_rows, said.flip_columns)

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        """Turn arrays (..., N, N) whose zero frequency is pixel (N // 2, N // 2), which stays where it is."""
        if self.transpose:
            values = np.swapaxes(values, -2, -1)
        for axis, flips in ((-2, self.flip_rows), (-1, self.flip_columns)):
            if flips:
                values = np.roll(np.flip(values, axis), 1 - values.shape[axis] % 2, axis)
        return values


class PatternSource(Protocol):
    """Rows of raw detector values in a file, opened lazily; can be pickled."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(B, N, N) as the file declares it."""

    def read(self, index: IntArray) -> NDArray[Any]:
        """Return the raw rows ``index`` as a new array (len(index), N, N)."""

    def unwritten(self) -> IntArray:
        """Return the numbers of rows that were declared but never written, as far as the file tells."""

    def close(self) -> None:
        """Release file handles and mappings."""


class DetectorFrame(Protocol):
    """The frame of a detector as its file has it, of which the frames of a scan are made; can be pickled."""

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the file's frames."""

    def place(self, valid: BoolArray) -> BoolArray:
        """Return a mask (H, W) of the file's frames as one (N, N) of the frames that are made of them."""


class ObjectSource(Protocol):
    """An object array in a file, loaded only when asked for; can be pickled."""

    def load(self) -> ComplexArray:
        """Return the object, shape (H, W)."""


@dataclass(frozen=True, kw_only=True)
class RawScan:
    """A scan as its reader found it, already in the meaning of the project.

    Parameters
    ----------
    format_name
        Name of the reader.
    patterns
        Raw rows; ``fftshift`` and ``square`` say how they become counts with DC at the centre.
    positions_px
        float64, shape (B, 2): patch corners (y, x) in object pixels.
    probe
        complex64, shape (P, N, N), or None.
    mask
        bool, shape (N, N), True = valid, or None.
    probe_mask
        bool, shape (N, N), True = the probe may differ from zero there, or None.
    object_source, object_origin_px
        Object and the position of its pixel (0, 0), or None.
    mean_counts
        Mean counts of a pattern where the file states it, else None.
    companions
        Other files that hold patterns or the mask of this scan.
    turn
        How patterns are turned once their zero frequency is at the centre; the mask is turned already.
    counts_per_photon
        What raw counts are divided by.
    clips_negative
        Whether negative counts become zero.
    frame_key
        How its rows are made of those that the file stores, where they are not these.
    detector
        The frame that the file stores, where its rows are made of that.
    is_electron
        Whether the energy is that of electrons.
    left_out
        Why pixels are left out that the mask of the file has as valid: in words, with bool (N, N), True = left out.
    n_unplaced, n_announced
        Of a scan that is still measured: frames that have no position yet, and frames that there will be, where the
        end of the scan is not told by the end of its file.
    """

    format_name: str
    patterns: PatternSource
    fftshift: bool
    square: bool
    positions_px: FloatArray
    probe: ComplexArray | None
    mask: BoolArray | None = None
    probe_mask: BoolArray | None = None
    object_source: ObjectSource | None = None
    object_origin_px: FloatArray | None = None
    mean_counts: float | None = None
    nphotons: float | None = None
    conversions: tuple[str, ...] = ()
    companions: tuple[Path, ...] = ()
    turn: Turn = field(default_factory=Turn)
    counts_per_photon: float = 1.0
    clips_negative: bool = False
    frame_key: str = ""
    detector: DetectorFrame | None = None
    is_electron: bool = False
    left_out: tuple[tuple[str, BoolArray], ...] = ()
    n_unplaced: int = 0
    n_announced: int | None = None
    pixel_size_m: float = NAN
    energy_eV: float = NAN
    detector_distance_m: float = NAN
