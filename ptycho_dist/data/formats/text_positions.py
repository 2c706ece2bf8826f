"""Positions in a text file whose heading names the columns, such as ``index, x_um, y_um``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptycho_dist.data.formats import checks
from ptycho_dist.data.maps.columns import heading_of, read_column
from ptycho_dist.data.maps.units import LENGTH, factor, is_unit
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray, IntArray

_NUMBERS = ("index", "trigger", "frame", "point", "number")
_NAME = re.compile(r"([xy])(?:[ _]?position)?(?:[ _]*[\[(]?([a-z\u00b5\u03bc]+)[\])]?)", re.IGNORECASE)
_ADVICE = "Name the columns in its first line, such as 'index,x_um,y_um', or say what they are in a map (--map)."


@dataclass(frozen=True, kw_only=True)
class TextPositions:
    """Positions of a text file; readings of one number are averaged.

    Parameters
    ----------
    values_m
        float64, shape (n, 2): (y, x) in metres.
    numbers
        int64, shape (n,): ascending numbers of the frames, from 0; None where the file has no such column.
    said
        What was done, in words.
    """

    values_m: FloatArray
    numbers: IntArray | None
    said: tuple[str, ...]


def read_positions(path: Path) -> TextPositions:
    """Read columns named x and y with their unit, and one named index, trigger, frame, point or number if there is one.

    Raises
    ------
    DataFormatError
        If the file is missing, or its heading does not name these columns.
    """
    if not path.is_file():
        msg = f"positions_file {path} is {'a folder' if path.is_dir() else 'missing'}; expected a text file. Check it."
        raise DataFormatError(msg)
    heading = heading_of(path)
    y, x = (_column(path, heading, axis) for axis in "yx")
    values = np.stack([read_column(path, name) * scale for name, scale in (y, x)], axis=1)
    said = [f"positions: columns {y[0]} and {x[0]} of {path.name}"]
    key = next((name for name in heading if name.lower() in _NUMBERS), None)
    values = checks.checked_positions(path, values, len(values))
    if key is None:
        return TextPositions(values_m=values, numbers=None, said=tuple(said))
    numbers = read_column(path, key)
    if not (numbers == np.rint(numbers)).all():
        msg = f"column {key!r} of {path} holds {numbers[numbers != np.rint(numbers)][0]}; expected whole numbers. "
        raise DataFormatError(msg + "Correct the file.")
    unique, which, counts = np.unique(numbers.astype(np.int64), return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(which, values[:, axis], len(unique)) for axis in (0, 1)], axis=1)
    if len(unique) < len(numbers):
        said.append(f"positions: {len(numbers)} readings averaged to {len(unique)} by {key}")
    return TextPositions(values_m=sums / counts[:, None], numbers=unique, said=tuple(said))


def _column(path: Path, heading: list[str], axis: str) -> tuple[str, float]:
    """Find the column of an axis, and what its numbers are multiplied with to be metres."""
    found = [(name, match[2]) for name in heading if (match := _NAME.fullmatch(name)) and match[1].lower() == axis]
    known = [(name, unit) for name, unit in found if unit and is_unit(unit)]
    if len(known) != 1:
        have = ", ".join(heading) or "no heading"
        msg = f"{path} has {len(known)} columns of {axis} with a unit ({have}); expected one. {_ADVICE}"
        raise DataFormatError(msg)
    name, unit = known[0]
    return name, factor(unit, LENGTH, f"column {name!r} of {path}")
