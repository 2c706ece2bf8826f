"""What a scan map may say; unknown keys are refused. Lists of alternatives: the first that the file has is taken."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from ptycho_dist.data.maps.units import is_unit

FROM_ATTRIBUTE = "from_attribute"
_ROWS = re.compile(r"\s*\d+(-\d+)?(\s*,\s*\d+(-\d+)?)*\s*")
_MOST_ALTERNATIVES = 50


def _as_alternatives(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _as_quantities(value: Any) -> Any:
    """Plain numbers are constants."""
    listed = _as_alternatives(value)
    return [{"value": one} if isinstance(one, int | float) and not isinstance(one, bool) else one for one in listed]


class Part(BaseModel):
    """A part of a map."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


class UnitAt(Part):
    """Where the file names a unit: an attribute of the dataset, or a dataset of its own."""

    attribute: str = "units"
    path: str | None = None
    default: str | None = None
    """Where the file does not name it."""
    above: float | None = Field(default=None, gt=0)
    then: str | None = None
    """The unit instead of the default where the number, or the span of an array, is above ``above``."""
    of: tuple[str, ...] = ()
    """Datasets of the same file whose largest span counts, instead of that of the values."""

    @field_validator("default", "then")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return None if value is None else _known_unit(value)

    @model_validator(mode="after")
    def _both(self) -> UnitAt:
        if (self.above is None) != (self.then is None) or (self.above is not None and self.default is None):
            msg = "above: and then: belong together, beside default:"
            raise ValueError(msg)
        return self


def _known_unit(value: str) -> str:
    if value != FROM_ATTRIBUTE and not is_unit(value):
        msg = f"{value!r} is no unit that is known; expected such as m, um, eV, keV, rad, px, or {FROM_ATTRIBUTE}"
        raise ValueError(msg)
    return value


class Where(Part):
    """A place: a dataset (or an attribute of it) of the scan file or of another, or a column of a text file."""

    path: str | None = Field(default=None, min_length=1, max_length=1000)
    file: str | None = Field(default=None, min_length=1, max_length=255)
    """Pattern of a file name in the folder of the scan; {stem} is the name of the scan without its ending."""
    attribute: str | None = None
    join_all: bool = False
    """Whether all that a * before the last name of the path fits are joined; else it has to fit one."""
    column: int | str | None = None
    """Of a text file: number from 0, or name in the line above the numbers."""

    @model_validator(mode="after")
    def _one_place(self) -> Where:
        if self.column is not None and (self.file is None or self.path is not None):
            msg = "column is of a text file; expected file: and no path:"
            raise ValueError(msg)
        if self.column is None and self.path is None and self.needs_path():
            msg = "expected path: (in the HDF5 file), or file: and column: (of a text file), or value:"
            raise ValueError(msg)
        return self

    def needs_path(self) -> bool:
        """Tell whether a path is missing where there is none."""
        return True


class Quantity(Where):
    """A number or an array, with its unit."""

    value: float | None = None
    unit: UnitAt | None = None
    sign: Literal[1, -1] = 1
    times_cos: Quantity | None = None
    """An angle with whose cosine it is multiplied."""
    average: Literal["file"] | None = None
    """Of several files: one value for each, the mean of what it holds."""
    component: int | None = None
    """Index along the last axis of the dataset."""
    spacing: bool = False
    """The distance between neighbouring values, which are coordinates."""

    @field_validator("unit", mode="before")
    @classmethod
    def _unit(cls, value: Any) -> Any:
        if isinstance(value, str):
            _known_unit(value)
            return {} if value == FROM_ATTRIBUTE else {"default": value, "attribute": ""}
        return value

    @model_validator(mode="after")
    def _value_or_place(self) -> Quantity:
        if self.value is not None and (self.path is not None or self.file is not None):
            msg = "value is a constant; expected no path: and no file: beside it"
            raise ValueError(msg)
        return self

    def needs_path(self) -> bool:
        """Tell whether it is neither a constant nor has a path."""
        return self.value is None


Quantities = Annotated[tuple[Quantity, ...], BeforeValidator(_as_quantities), Field(max_length=_MOST_ALTERNATIVES)]


class Patterns(Where):
    """The frames of the detector."""

    axes: tuple[Literal["frame", "y", "x"] | int, ...] | None = None
    """Name of each axis; a number is the index taken of an axis. The last two are y and x where not given."""
    kind: Literal["counts", "amplitude", "auto"] = "counts"
    zero_frequency: Literal["centre", "corner"] = "centre"
    missing_parts: Literal["refuse", "skip"] = "refuse"
    """Whether parts (of a path with ``*``) that are announced and not there are left out."""
    number_attribute: str | None = None
    """Attribute of each part that gives the number of its first frame, from ``first_number`` on."""
    first_number: int = 1
    counter: str | None = None
    """Path of a counter of the detector in the file of each part, whose gaps tell frames that were dropped."""

    @field_validator("axes")
    @classmethod
    def _one_y_one_x(cls, value: tuple[str | int, ...] | None) -> tuple[str | int, ...] | None:
        if value is not None and (value.count("y"), value.count("x")) != (1, 1):
            msg = f"{list(value)} are no axes of frames; expected one y, one x, and frame once or more"
            raise ValueError(msg)
        return value


class Raster(Part):
    """Positions of a raster from its steps."""

    rows: Quantities | None = None
    columns: Quantities | None = None
    step_y: Quantities
    step_x: Quantities
    slow: Literal["y", "x"] = "y"
    snake: bool = False
    rotation_deg: float = 0.0


class Join(Part):
    """How positions and frames belong together."""

    by: Literal["order", "index", "trigger"]
    """trigger: positions with the same number are averaged."""
    positions: Quantity | None = None
    """The number of each position."""
    frames: Quantity | None = None
    """The number of each frame; they are counted from ``first`` where not given."""
    first: int | None = None
    """Where not given: 1 if the numbers of the positions run from 1 to the number of frames, else 0."""

    @model_validator(mode="after")
    def _numbers(self) -> Join:
        if self.by != "order" and self.positions is None:
            msg = f"by: {self.by} needs positions: (the number of each position)"
            raise ValueError(msg)
        return self


class Positions(Part):
    """The positions: y and x each for itself, one array of both, or a raster from its steps."""

    y: Quantities | None = None
    x: Quantities | None = None
    both: Quantity | None = None
    axes: tuple[Literal["point"] | tuple[Literal["y", "x", "z"], ...], ...] = ("point", ("y", "x"))
    """Of ``both``: the axis of the points, and the components along the other."""
    sign_y: Literal[1, -1] = 1
    sign_x: Literal[1, -1] = 1
    raster: Raster | None = None
    grid: bool | None = None
    """y and x are axes of a raster: of rows and columns; by their lengths where not given."""
    slow: Literal["y", "x"] = "y"
    """Of a grid: the axis that changes from line to line."""
    refer_to: Literal["corner", "centre"] = "corner"
    join: Join = Join(by="order")
    surplus: Literal["refuse", "drop_last", "drop_last_of_part"] = "refuse"
    """What is done to more positions than frames; of_part: of each file of frames, which is a line of the grid."""

    @model_validator(mode="after")
    def _one_form(self) -> Positions:
        forms = [self.y is not None and self.x is not None, self.both is not None, self.raster is not None]
        if sum(forms) != 1 or (self.y is None) != (self.x is None):
            msg = "expected y: and x:, or both:, or raster:"
            raise ValueError(msg)
        parts = [one for one in self.axes if one != "point"]
        if len(self.axes) != 2 or len(parts) != 1 or not {"y", "x"} <= set(parts[0]):
            msg = f"{list(self.axes)} are no axes; expected point and a list with y and x, such as [point, [y, x]]"
            raise ValueError(msg)
        return self


class Mask(Where):
    """Valid pixels."""

    nonzero: Literal["bad", "good"]
    """What pixels are whose value is not zero."""
    good_values: tuple[float, ...] = ()
    """Values that are good whatever ``nonzero`` says."""


class Pair(Part):
    """A quantity for rows and one for columns."""

    y: Quantities
    x: Quantities


class Transform(Part):
    """How frames lie to the positions: transposed, then rows flipped, then columns; and what of them is kept."""

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False
    orientation: Where | None = None
    """Where the file has a number from 0 to 7: 4 transposes, 2 flips rows, 1 columns (as ptypy and PtyLab have it)."""
    crop_px: int | None = Field(default=None, ge=8)
    binning: int = Field(default=1, ge=1)
    hot_pixel_ratio: float | None = Field(default=None, gt=0)


class Frames(Part):
    """Which frames are taken: numbers from 0, such as 0-99,120."""

    keep: str | None = None
    drop: str | None = None

    @field_validator("keep", "drop")
    @classmethod
    def _rows(cls, value: str | None) -> str | None:
        if value is not None and not _ROWS.fullmatch(value):
            msg = f"{value!r} are no numbers of frames; expected such as 0-99,120"
            raise ValueError(msg)
        return value


class Refusal(Part):
    """A path that shows that a file is no scan, and what it is."""

    path: str
    because: str


def _as_wheres(value: Any) -> Any:
    """Texts are paths."""
    return [{"path": one} if isinstance(one, str) else one for one in _as_alternatives(value)]


class ScanMap(Part):
    """A scan map."""

    name: str = "map"
    about: str = ""
    stem_ends: tuple[str, ...] = ()
    """Endings of the name that are no part of {stem}, such as _master."""
    match: Annotated[tuple[Where, ...], BeforeValidator(_as_wheres)] = ()
    """Paths that all must be there for the map to be found by itself."""
    refuse: tuple[Refusal, ...] = ()
    patterns: Annotated[tuple[Patterns, ...], BeforeValidator(_as_alternatives)]
    positions: Annotated[tuple[Positions, ...], BeforeValidator(_as_alternatives)]
    mask: Annotated[tuple[Mask, ...], BeforeValidator(_as_alternatives)] = ()
    dead_values: tuple[float, ...] = ()
    dark: Quantities = ()
    flat: Quantities = ()
    monitor: Quantities = ()
    energy: Quantities = ()
    wavelength: Quantities = ()
    radiation: Literal["auto", "x-ray", "electron", "light"] = "auto"
    distance: Quantities = ()
    detector_pixel: Quantities = ()
    pixel_size: Quantities = ()
    angle_per_pixel: Quantities = ()
    frequency_per_pixel: Quantities = ()
    beam_center: Annotated[tuple[Pair, ...], BeforeValidator(_as_alternatives)] = ()
    transform: Transform = Field(default_factory=Transform)
    frames: Frames = Field(default_factory=Frames)
    probe: Quantities = ()
