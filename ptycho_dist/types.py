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
from numpy.typing import NDArray

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
    conversions: tuple[str, ...] = ()
    pixel_size_m: float = float("nan")
    energy_eV: float = float("nan")
    detector_distance_m: float = float("nan")
    units_known: bool = False


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
    provenance: dict[str, Any] = field(default_factory=dict)
