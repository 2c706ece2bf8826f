"""What every reader delivers, and the options a user may give it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.types import FloatArray, IntArray

ComplexArray = NDArray[np.complex64]
BoolArray = NDArray[np.bool_]
NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class ScanOptions:
    """What a user may say about a scan file that the file leaves open.

    Parameters
    ----------
    file_format
        Reader to use; ``"auto"`` looks at the content.
    intensity_kind
        ``"auto"``, ``"counts"`` or ``"amplitude"``; a contradiction with the file is an error.
    pixel_size_m, energy_eV, detector_distance_m
        Metadata for files that lack them; a contradiction with the file is an error.
    """

    file_format: str = "auto"
    intensity_kind: str = "auto"
    pixel_size_m: float | None = None
    energy_eV: float | None = None
    detector_distance_m: float | None = None


class PatternSource(Protocol):
    """Rows of raw detector values in a file, opened lazily; can be pickled."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(B, N, N) as the file declares it."""

    def read(self, index: IntArray) -> NDArray[Any]:
        """Return the raw rows ``index`` as a new array (len(index), N, N)."""

    def close(self) -> None:
        """Release file handles and mappings."""


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
        Other files that hold patterns of this scan.
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
    pixel_size_m: float = NAN
    energy_eV: float = NAN
    detector_distance_m: float = NAN
