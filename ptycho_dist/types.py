"""Types shared by all layers, and the legend of shape letters.

Shape letters: ``B`` patterns, ``G`` patterns in a group, ``P`` probe modes,
``N`` detector pixels along one side, ``H, W`` canvas rows and columns,
``C`` channels. ``patches_GNN`` is an array of shape ``(G, N, N)``.
Positions are always (y, x), the corner of a patch, in object pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptycho_dist.errors import ConfigError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ScanHeader:
    """What is known of a scan before any pattern is read.

    Parameters
    ----------
    path
        The scan file.
    format_name
        Name of the reader, such as ``"tike_npz"``.
    n_patterns
        Number B of diffraction patterns.
    N
        Detector pixels along one side of a (square) pattern.
    n_modes
        Number P of incoherent probe modes supplied; 0 if the file has no probe.
    mean_counts
        Mean photon count of one pattern (estimated from the file's metadata,
        or from up to 64 evenly spaced patterns).
    nphotons
        Photon count stated by the file's metadata; None where it states none.
    checksum
        SHA-256 (hex) over the bytes of the file and of those that hold a part of its patterns; of 256 MiB or more,
        over samples of them.
    probe_mask_px
        Number of pixels where the probe may differ from zero; None where the file does not say.
    canvas_px
        Object pixels of the smallest canvas that holds all patterns; None where the positions are not read.
    conversions
        One sentence for each conversion the reader made.
    pixel_size_m, energy_eV, detector_distance_m
        Object pixel, photon or electron energy, distance; NaN where unknown.
    units_known
        True when the file gives metres; then ``pixel_size_m`` is a number.
    """

    path: Path
    format_name: str
    n_patterns: int
    N: int
    n_modes: int
    mean_counts: float
    nphotons: float | None
    checksum: str
    probe_mask_px: int | None = None
    canvas_px: int | None = None
    conversions: tuple[str, ...] = ()
    pixel_size_m: float = float("nan")
    energy_eV: float = float("nan")
    detector_distance_m: float = float("nan")
    units_known: bool = False


@dataclass(frozen=True)
class Propagation:
    """How waves travel from the object to the detector.

    Parameters
    ----------
    kind
        Name of a registered propagator: ``far_field`` or ``near_field``.
    pixel_size_m, energy_eV
        Object pixel; photon or electron energy. NaN where the propagator needs none.
    distance_m
        Distance of a parallel beam that gives the same picture; NaN where the propagator needs none.
    """

    kind: str = "far_field"
    pixel_size_m: float = float("nan")
    energy_eV: float = float("nan")
    distance_m: float = float("nan")


FAR_FIELD = Propagation()
"""Fraunhofer diffraction, which needs no numbers."""


@dataclass(frozen=True)
class Canvas:
    """A rectangle of object pixels.

    Parameters
    ----------
    origin_px
        Position (y, x) of pixel (0, 0).
    shape
        Rows and columns.
    """

    origin_px: tuple[float, float]
    shape: tuple[int, int]

    @classmethod
    def around(cls, positions_px: FloatArray, side: int, *, grid_px: ArrayLike = (0.0, 0.0), margin: int = 0) -> Canvas:
        """Smallest canvas that holds every frame of a side, sub-pixel reach included, and a margin.

        Parameters
        ----------
        positions_px
            Corners (B, 2) of the frames.
        side
            Side of a frame in pixels.
        grid_px
            Position (y, x) of any pixel: pixels of the canvas lie on this grid.
        margin
            Pixels on each side.
        """
        grid = np.asarray(grid_px, dtype=np.float64)
        low = np.floor(positions_px.min(axis=0) - grid).astype(int) - margin
        high = np.floor(positions_px.max(axis=0) - grid).astype(int) + side + 1 + margin
        y, x = low + grid
        return cls((float(y), float(x)), (int(high[0] - low[0]), int(high[1] - low[1])))

    @classmethod
    def bounding(cls, mask: NDArray[np.bool_]) -> Canvas:
        """Smallest rectangle that holds the true pixels of an array (H, W).

        Raises
        ------
        ConfigError
            If there are none.
        """
        if not mask.any():
            msg = "the scanned area is empty; expected at least one pixel. Check positions and origins."
            raise ConfigError(msg)
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        return cls((float(rows[0]), float(columns[0])), (int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1))

    @property
    def corner(self) -> tuple[int, int]:
        """The origin in whole pixels."""
        return round(self.origin_px[0]), round(self.origin_px[1])

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of this rectangle in an array whose pixel (0, 0) lies at position (0, 0)."""
        (y, x), (height, width) = self.corner, self.shape
        return slice(y, y + height), slice(x, x + width)


@dataclass(frozen=True)
class Shard:
    """A contiguous share ``[start, stop)`` of a canonical list.

    Parameters
    ----------
    rank, world
        Owner and number of owners.
    start, stop
        Half-open range into the canonical list.
    """

    rank: int
    world: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Groups:
    """Overlap groups: rows of pattern indices, padded to one width.

    Parameters
    ----------
    index
        int64, shape (n_groups, G): pattern indices; padding repeats the first one.
    valid
        bool, shape (n_groups, G): False marks padding.
    """

    index: IntArray
    valid: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def size(self) -> int:
        """Patterns in a group, padding included."""
        return int(self.index.shape[1])


@dataclass(frozen=True)
class ProductMetadata:
    """Metadata of a reconstruction product, units as in the field names."""

    name: str
    comments: str = ""
    detector_object_distance_m: float = float("nan")
    probe_energy_eV: float = float("nan")
    exposure_time_s: float = float("nan")
    propagation: Propagation = FAR_FIELD
    provenance: dict[str, Any] = field(default_factory=dict)
