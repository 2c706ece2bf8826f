"""What a file says of a measurement, in its own units and order; :mod:`.prepare` makes a scan of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.base import NAN, BoolArray, ComplexArray, ObjectSource, PatternSource, Turn
from ptycho_dist.types import FloatArray

XRAY, ELECTRON, LIGHT = "x-ray", "electron", "light"
METRES, PIXELS = "m", "px"
CORNER, CENTRE = "corner", "centre"


@dataclass(frozen=True, kw_only=True)
class Positions:
    """Where the patches lie.

    Parameters
    ----------
    values
        float64, shape (B, 2): (y, x), row and column direction of the object.
    unit
        ``"m"``, or ``"px"`` (object pixels of the frame as the file has it).
    refer_to
        ``"corner"`` or ``"centre"`` of the patch.
    """

    values: FloatArray
    unit: str = METRES
    refer_to: str = CORNER


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Radiation, distance and pixels, as far as the file says; NaN where it does not.

    Parameters
    ----------
    radiation
        ``"x-ray"``, ``"electron"`` or ``"light"``.
    energy_eV
        Of a photon or an electron.
    detector_distance_m
        Object to detector.
    detector_pixel_m
        (y, x).
    pixel_size_m
        Object pixel, where the file states it: of the frame as the file has it.
    angle_per_pixel_rad
        Angle between neighbouring detector pixels (electrons), instead of distance and detector pixel.
    per_metre_per_pixel
        The same as spatial frequency, 1/m.
    """

    radiation: str = XRAY
    energy_eV: float = NAN
    detector_distance_m: float = NAN
    detector_pixel_m: tuple[float, float] = (NAN, NAN)
    pixel_size_m: float = NAN
    angle_per_pixel_rad: float = NAN
    per_metre_per_pixel: float = NAN


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What is done to the counts of a frame as it is read.

    Parameters
    ----------
    dark
        float64, shape (H, W), subtracted; differences below zero become zero. Or None.
    flat
        float64, shape (H, W), divided by, after the dark; pixels where it is not above zero are left out. Or None.
    scale
        float64, shape (B,), multiplied with each frame, such as a monitor's mean over its value. Or None.
    """

    dark: FloatArray | None = None
    flat: FloatArray | None = None
    scale: FloatArray | None = None

    def __bool__(self) -> bool:
        return any(one is not None for one in (self.dark, self.flat, self.scale))


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A measurement as a reader or a map found it; it need not be square, nor in object pixels.

    Parameters
    ----------
    format_name
        Name of the reader or map.
    frames
        Raw rows (B, H, W), read as they are asked for.
    positions
        One for each frame.
    geometry
        Radiation, distance and pixels.
    kind
        ``"counts"``, ``"amplitude"`` or ``"auto"``.
    is_corner
        Whether the zero frequency is pixel (0, 0); else it is ``beam_center_px``, or (H // 2, W // 2).
    mask
        bool, shape (H, W), True = valid, in the order of the frames; or None.
    dead_values
        Values that mark a dead pixel, besides those that every detector uses (see :mod:`.dead_pixels`).
    correction
        Dark, flat and scale.
    turn
        How the frames lie to the positions: applied after the crop, about the zero frequency.
    beam_center_px
        (y, x) in the order of the frames, or None.
    crop_px, binning
        Side of the square that is kept before binning (None: of the frame), and pixels a side that are added.
    hot_pixel_ratio
        See :class:`~ptycho_dist.config.scan_options.ScanOptions`; None for none.
    probe
        complex64, shape (P, N, N), in the pixels of the frame as the file has it; or None.
    object_source, object_origin_px
        Object, and the position of its pixel (0, 0); or None.
    nphotons
        Photons in a pattern, where the file states it.
    companions
        Other files that hold values of it.
    conversions
        One sentence for each thing the reader did.
    """

    format_name: str
    frames: PatternSource
    positions: Positions
    geometry: Geometry = field(default_factory=Geometry)
    kind: str = "counts"
    is_corner: bool = False
    mask: BoolArray | None = None
    dead_values: tuple[float, ...] = ()
    correction: Correction = field(default_factory=Correction)
    turn: Turn = field(default_factory=Turn)
    beam_center_px: tuple[float, float] | None = None
    crop_px: int | None = None
    binning: int = 1
    hot_pixel_ratio: float | None = None
    probe: ComplexArray | None = None
    object_source: ObjectSource | None = None
    object_origin_px: FloatArray | None = None
    nphotons: float | None = None
    companions: tuple[Path, ...] = ()
    conversions: tuple[str, ...] = ()


def as_valid(values: NDArray[Any], *, nonzero_is_bad: bool) -> BoolArray:
    """Return a mask of a file as bool, True = valid."""
    nonzero = np.asarray(values != 0)
    return ~nonzero if nonzero_is_bad else nonzero
