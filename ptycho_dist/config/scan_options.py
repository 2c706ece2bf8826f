"""What a user may say about a scan file: what it leaves open, and what in it is to be turned, masked or left out."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ptycho_dist.config import validators
from ptycho_dist.config.plausibility import MAGNITUDES, require_possible
from ptycho_dist.config.probe_choice import parse_probe
from ptycho_dist.errors import ConfigError

INTENSITY_KINDS = ("auto", "counts", "amplitude")
POLARITIES = ("auto", "valid", "invalid")
POSITION_UNITS = {"px": None, "m": 1.0, "mm": 1e-3, "um": 1e-6, "nm": 1e-9, "pm": 1e-12}
"""Metres in each unit of positions; None for object pixels."""
AUTO, NONE = "auto", "none"
GEOMETRY = ("pixel_size_m", "energy_eV", "detector_distance_m")
"""Numbers that a scan file may lack."""
_SWITCHES = (
    "flip_rows",
    "flip_columns",
    "transpose",
    "swap_positions",
    "negate_y",
    "negate_x",
)
_FILES = ("mask", "positions_file", "dark", "flat", "monitor")
_FRAME = ("dark", "flat", "monitor", "crop_px", "beam_center_px", "binning", "hot_pixel_ratio", "detector_pixel_m")
_POSITIVE = ("counts_per_photon", "detector_pixel_m", "hot_pixel_ratio", "angle_per_pixel_rad", "scan_step_m")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True, kw_only=True)
class ScanOptions:
    """How a scan file is to be read."""

    file_format: str = AUTO
    """Reader to use: auto, or a reader's name such as tike_npz, ptychopinn_npz, ptycho_dist_h5."""

    map: str | None = None
    """Scan map (YAML) that says where an HDF5 file holds what; found by the file's content where not set."""

    positions_file: str | None = None
    """File with the positions that the scan file lacks: product of Ptychodus, or text with columns named x and y, or
    chosen by name or number: FILE.csv:y=2,x=1,unit=nm,trigger=7 (SPEC: FILE:scan=12,y=samy,x=samx,unit=mm)."""

    intensity_kind: str = AUTO
    """Whether the file holds counts or amplitudes (square roots of counts): auto, counts, amplitude."""

    counts_per_photon: float | None = None
    """Detector counts that one photon makes; patterns are divided by it. Counts are photons where not set."""

    mask: str | None = None
    """File with a mask (N, N) of detector pixels (NPY, NPZ, HDF5 as FILE.h5:DATASET, PNG, TIFF), besides the scan's."""

    mask_polarity: str = AUTO
    """What nonzero pixels of the mask are: valid, invalid; auto takes what most pixels are as valid."""

    dark: str | None = None
    """File (as of a mask) with a dark frame, or several, in the shape of the detector; their mean is subtracted."""

    flat: str | None = None
    """File (as of a mask) with a flat field, or several; counts less the dark are divided by it, zeros are masked."""

    monitor: str | None = None
    """File (NPY, HDF5 as FILE.h5:DATASET, text as FILE.csv:COLUMN) with a value for each frame, which is divided by."""

    mask_saturated: bool | None = None
    """Leave out pixels that reach the maximum of their type, or hold no count, in any pattern; false keeps them."""

    drop_frames: str | tuple[int, ...] | None = None
    """Patterns to leave out: numbers such as 3,11,24-30; auto (those found empty, unwritten or outlying); or none."""

    hot_pixel_ratio: float | None = None
    """Leave out pixels whose mean count is above this many times the median of the 5 x 5 pixels around them."""

    crop_px: int | None = None
    """Side N of the square of detector pixels around the beam centre that is kept, before binning; padded if larger."""

    beam_center_px: tuple[float, float] | None = None
    """Detector pixel (y, x) of the zero frequency, from 0; where not set, of the file or of the mean pattern."""

    binning: int = 1
    """Detector pixels a side whose counts are added to one (1, 2, 4, ...)."""

    transpose: bool = False
    """Exchange rows and columns of the patterns; before flips."""

    flip_rows: bool = False
    """Reverse the order of the patterns' rows, about the zero frequency."""

    flip_columns: bool = False
    """Reverse the order of the patterns' columns, about the zero frequency."""

    swap_positions: bool = False
    """Exchange y and x of the positions; before signs."""

    negate_y: bool = False
    """Change the sign of the positions' y."""

    negate_x: bool = False
    """Change the sign of the positions' x."""

    position_unit: str = "px"
    """Unit of the positions in the file: px (object pixels), m, mm, um, nm or pm; all but px need the pixel size."""

    pixel_size_m: float | None = None
    """Size of an object pixel in metres, where the file does not say."""

    energy_eV: float | None = None
    """Photon (or electron) energy in electronvolts, where the file does not say."""

    detector_distance_m: float | None = None
    """Distance from object to detector in metres, where the file does not say."""

    detector_pixel_m: float | None = None
    """Size of a detector pixel in metres, where the file does not say."""

    probe: str | None = None
    """Probe to start from: mean_pattern, zone_plate:..., pinhole:..., gaussian:..., electron:... with NAME=NUMBER, or a
    file. That of the scan where not set; from the mean pattern where it holds none."""

    angle_per_pixel_rad: float | None = None
    """Angle between neighbouring detector pixels in radians, of electron data whose file does not say."""

    scan_step_m: float | None = None
    """Step of a raster in metres, where the file has frames of a raster without positions; in place of the file's."""

    scan_shape: tuple[int, int] | None = None
    """Lines of a raster and frames in a line, such as [64,64], where the file does not say."""

    def __post_init__(self) -> None:
        parse_probe(self.probe)
        validators.require_choice("data.intensity_kind", self.intensity_kind, INTENSITY_KINDS)
        for name in _FILES:
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                msg = f"data.{name} = {value!r}; expected the name of a file. Change it."
                raise ConfigError(msg)
        validators.require_choice("data.mask_polarity", self.mask_polarity, POLARITIES)
        validators.require_choice("data.position_unit", self.position_unit, tuple(POSITION_UNITS))
        for name in (*GEOMETRY, *_POSITIVE):
            validators.require_optional_positive(f"data.{name}", getattr(self, name))
            if name in MAGNITUDES:
                require_possible(f"data.{name}", getattr(self, name))
        validators.require_choice("data.mask_saturated", self.mask_saturated, (None, True, False))
        for name in _SWITCHES:
            validators.require_bool(f"data.{name}", getattr(self, name))
        self.frames_to_drop()
        self._require_frame()

    def _require_frame(self) -> None:
        if self.map is not None and (not isinstance(self.map, str) or not self.map):
            msg = f"data.map = {self.map!r}; expected the name of a YAML file. Change it."
            raise ConfigError(msg)
        validators.require_optional_int("data.crop_px", self.crop_px, 8)
        validators.require_int("data.binning", self.binning, 1)
        if self.crop_px is not None and self.crop_px % (2 * self.binning):
            msg = (
                f"data.crop_px = {self.crop_px} with data.binning = {self.binning}; expected a multiple of "
                f"{2 * self.binning}. Change it."
            )
            raise ConfigError(msg)
        shape = self.scan_shape
        is_shape = isinstance(shape, tuple | list) and len(shape) == 2 and all(type(n) is int and n > 0 for n in shape)
        if shape is not None and not is_shape:
            msg = f"data.scan_shape = {shape!r}; expected lines and frames in a line, such as [64,64]. Change it."
            raise ConfigError(msg)
        center = self.beam_center_px
        is_pair = (
            isinstance(center, tuple | list)
            and len(center) == 2
            and all(type(number) in (int, float) for number in center)
        )
        if center is not None and not (is_pair and all(math.isfinite(number) for number in center)):
            msg = f"data.beam_center_px = {center!r}; expected two numbers (y, x), such as [127.5,130]. Change it."
            raise ConfigError(msg)

    def frame_settings(self) -> tuple[str, ...]:
        """Return the names of the settings in force that change the frame of the detector or which pixels count."""
        default = ScanOptions()
        return tuple(name for name in _FRAME if getattr(self, name) != getattr(default, name))

    def frames_to_drop(self) -> tuple[int, ...]:
        """Return the numbers of the patterns that are named to be left out, ascending.

        Raises
        ------
        ConfigError
            If ``drop_frames`` is no list of numbers.
        """
        given = self.drop_frames
        if given in (None, AUTO, NONE):
            return ()
        if isinstance(given, str):
            parts = [part.strip() for part in given.strip("[]() ").split(",") if part.strip()]
            if not parts:
                raise _not_frames(given)
            return tuple(sorted({number for part in parts for number in _numbers(part, given)}))
        if isinstance(given, tuple | list) and all(type(number) is int and number >= 0 for number in given):
            return tuple(sorted(set(given)))
        raise _not_frames(given)

    def drops_alike(self, drop_frames: str | Sequence[int] | None) -> bool:
        """Tell whether another value of ``drop_frames``, which JSON may have made a list, leaves out the same."""
        given = drop_frames if drop_frames is None or isinstance(drop_frames, str) else tuple(drop_frames)
        other = ScanOptions(drop_frames=given)
        same_way = (self.drop_frames == AUTO) == (other.drop_frames == AUTO)
        return same_way and self.frames_to_drop() == other.frames_to_drop()


def _numbers(part: str, given: str) -> range:
    found = _RANGE.fullmatch(part)
    if found is None:
        raise _not_frames(given)
    first, last = int(found[1]), int(found[2] or found[1])
    if last < first:
        raise _not_frames(given)
    return range(first, last + 1)


def _not_frames(given: object) -> ConfigError:
    return ConfigError(
        f"data.drop_frames = {given!r}; expected auto, none, or pattern numbers such as 3,11,24-30. Change it."
    )
