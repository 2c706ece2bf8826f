"""Axes of electron microscopy files: steps with the units in which programs write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ptycho_dist.data.formats.base import NAN
from ptycho_dist.errors import DataFormatError

_LENGTHS_M = {"m": 1.0, "mm": 1e-3, "um": 1e-6, "micron": 1e-6, "nm": 1e-9, "a": 1e-10, "angstrom": 1e-10, "pm": 1e-12}
_ANGLES_RAD = {"rad": 1.0, "mrad": 1e-3, "urad": 1e-6, "deg": 0.017453292519943295}
_SAME = 1e-3


@dataclass(frozen=True)
class Axis:
    """Step of an axis and its unit as the file spells it; NaN and empty where it does not say."""

    step: float = NAN
    unit: str = ""

    @property
    def plain_unit(self) -> str:
        """The unit in small plain letters; ``1/nm`` for all spellings of that."""
        text = self.unit.strip().lower().strip("[]").replace("\u00b5", "u").replace("\u03bc", "u")
        text = text.replace("\u00e5", "a").replace("\u212b", "a").replace("n_m", "nm").replace(" ", "")
        inverse = re.fullmatch(r"(?:1/\(?)?([a-z]+)\)?(\^?\(?-1\)?)?", text)
        is_inverse = text.startswith("1/") or "-1" in text
        return text if inverse is None else f"1/{inverse[1]}" if is_inverse else inverse[1]


def length_m(axis: Axis) -> float:
    """Step of an axis in metres; NaN where its unit is no length."""
    return abs(axis.step) * _LENGTHS_M.get(axis.plain_unit, NAN)


def frequency_or_angle(path: Path, rows: Axis, columns: Axis) -> tuple[float, float]:
    """Return what a detector pixel is: spatial frequency in 1/m, or angle in rad; the other is NaN.

    Raises
    ------
    DataFormatError
        If rows and columns differ.
    """
    sides = [_of_detector(axis) for axis in (rows, columns)]
    for one, other in zip(*sides, strict=True):
        if abs(one - other) > _SAME * max(one, other):
            msg = (
                f"detector pixels in {path} are {rows.step:.5g} {rows.unit} high and {columns.step:.5g} {columns.unit} "
                "wide; expected square ones. Resample the patterns."
            )
            raise DataFormatError(msg)
    return sides[0]


def _of_detector(axis: Axis) -> tuple[float, float]:
    unit = axis.plain_unit
    inverse = _LENGTHS_M.get(unit.removeprefix("1/"), NAN) if unit.startswith("1/") else NAN
    return abs(axis.step) / inverse, abs(axis.step) * _ANGLES_RAD.get(unit, NAN)
