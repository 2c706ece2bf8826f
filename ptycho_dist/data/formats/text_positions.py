"""Positions in a text file: columns that its heading names (``index, x_um, y_um``), or that the user chooses.

Columns are chosen behind the name of the file, ``FILE:y=2,x=1,unit=nm,trigger=7``: each a name in the heading, or a
number from 0; a SPEC file needs ``scan=NUMBER`` too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ptycho_dist.data.formats import checks
from ptycho_dist.data.formats.other_files import kind_of_file, told_kind
from ptycho_dist.data.formats.spec_scan import SpecScan, read_spec
from ptycho_dist.data.maps.columns import heading_of, read_column
from ptycho_dist.data.maps.units import LENGTH, factor, is_unit
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray, IntArray

_NUMBERS = ("index", "trigger", "frame", "point", "number")
_KEYS = ("y", "x", "unit", "scan", *_NUMBERS)
_NAME = re.compile(r"([xy])(?:[ _]?position)?(?:[ _]*[\[(]?([a-z\u00b5\u03bc\u00e5\u212b]+)[\])]?)", re.IGNORECASE)
_UNIT = re.compile(r".*?(?:[\[(]([^\])]+)[\])]|_([^_\s]+))\s*")
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
_CHOICE = re.compile(r"(?:[a-z]+=[^,=]+)(?:,[a-z]+=[^,=]+)*")
_ADVICE = (
    "Name the columns in its first line, such as 'index,x_um,y_um', or choose them: --positions_file "
    "FILE:y=COLUMN,x=COLUMN,unit=um."
)


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


@dataclass(frozen=True)
class _Table:
    """A text file whose columns are read by name or number; ``spec`` is the scan of a SPEC file."""

    path: Path
    heading: list[str]
    spec: SpecScan | None = None
    choice: Mapping[str, str] = field(default_factory=dict)

    def column(self, name: str) -> FloatArray:
        """Read a column by its name or number."""
        place = name if name in self.heading or not name.isdecimal() else int(name)
        if self.spec is None:
            return read_column(self.path, place)
        if place not in self.heading and place not in range(len(self.heading)):
            msg = f"{self.path} has no column {name!r}; the scan has {', '.join(self.heading)}. Name another column."
            raise DataFormatError(msg)
        return self.spec.values[:, place if isinstance(place, int) else self.heading.index(place)]


def split_positions_file(given: str) -> tuple[Path, dict[str, str]]:
    """Return the file of positions and the columns that are chosen of it, by what they are.

    Raises
    ------
    DataFormatError
        If what is chosen is not understood.
    """
    path = Path(given)
    file, _, said = given.rpartition(":")
    if path.exists() or not file or not Path(file).is_file():
        return path, {}
    pairs = [pair.strip().partition("=") for pair in said.split(",")]
    choice = {key.strip(): value.strip() for key, _, value in pairs}
    wrong = sorted(set(choice) - set(_KEYS))
    if not _CHOICE.fullmatch(said.replace(" ", "")) or wrong or len(choice) < len(pairs):
        msg = (
            f"positions_file {given!r} chooses {said!r}; expected columns such as y=2,x=1,unit=nm,trigger=7 "
            f"({', '.join(_KEYS)}, each once). Correct it."
        )
        raise DataFormatError(msg)
    return Path(file), choice


def read_positions(given: str) -> TextPositions:
    """Read columns named x and y with their unit, and one named index, trigger, frame, point or number if there is one.

    Parameters
    ----------
    given
        The file, and the columns where they are chosen.

    Raises
    ------
    DataFormatError
        If the file is missing, no text, or neither heading nor choice names these columns.
    """
    path, choice = split_positions_file(given)
    if not path.is_file():
        msg = f"positions_file {path} is {'a folder' if path.is_dir() else 'missing'}; expected a text file. Check it."
        raise DataFormatError(msg)
    table = _table(path, choice)
    if choice.get("y", "") == choice.get("x", "?"):
        msg = f"positions_file {given!r} takes y and x from one column; expected two. Choose another for one of them."
        raise DataFormatError(msg)
    y, x = (_chosen(table, axis) if axis in choice else _column(table, axis) for axis in "yx")
    values = np.stack([table.column(name) * scale for name, scale in (y, x)], axis=1)
    said = [f"positions: columns {y[0]} and {x[0]} of {path.name}"]
    key = next((choice[name] for name in _NUMBERS if name in choice), None)
    key = key or next((name for name in table.heading if name.lower() in _NUMBERS and not choice), None)
    values = checks.checked_positions(path, values, len(values))
    if key is None:
        return TextPositions(values_m=values, numbers=None, said=tuple(said))
    numbers = table.column(key)
    if not (numbers == np.rint(numbers)).all() or np.abs(numbers).max() >= 2**62:
        odd = numbers[(numbers != np.rint(numbers)) | (np.abs(numbers) >= 2**62)][0]
        msg = f"column {key!r} of {path} holds {odd}; expected whole numbers. Correct the file."
        raise DataFormatError(msg)
    unique, which, counts = np.unique(numbers.astype(np.int64), return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(which, values[:, axis], len(unique)) for axis in (0, 1)], axis=1)
    if len(unique) < len(numbers):
        said.append(f"positions: {len(numbers)} readings averaged to {len(unique)} by {key}")
    return TextPositions(values_m=sums / counts[:, None], numbers=unique, said=tuple(said))


@dataclass(frozen=True)
class JoinedRows:
    """Rows of the frames that have a position, rows of these positions (int64, shape (n,)), and what was left out."""

    frames: IntArray
    positions: IntArray
    said: tuple[str, ...] = ()


def first_frames(count: int, positions: TextPositions) -> JoinedRows:
    """Join the first of so many frames with the positions that there are so far, in order."""
    rows = np.arange(min(count, len(positions.values_m)))
    return JoinedRows(rows, rows)


def join_frames(path: Path, numbers: IntArray, positions: TextPositions) -> JoinedRows:
    """Find the frames that have a position, and these positions.

    Parameters
    ----------
    path
        The file of the frames, for messages.
    numbers
        int64, shape (B,): number of each frame, from 0.
    positions
        Of the text file.

    Raises
    ------
    DataFormatError
        If they do not belong together.
    """
    count, found = len(numbers), len(positions.values_m)
    if positions.numbers is None:
        if found != count:
            msg = (
                f"{path} has {count} frames, the file of positions {found}; expected one for each frame, or a column "
                "index or trigger that says how they belong together. Add it to the file, or choose it: trigger=COLUMN."
            )
            raise DataFormatError(msg)
        return JoinedRows(np.arange(count), np.arange(count))
    first = int(positions.numbers[0])
    of_positions = positions.numbers - (1 if first == 1 and numbers[0] == 0 else 0)
    _, rows, places = np.intersect1d(numbers, of_positions, return_indices=True)
    if not len(rows):
        msg = (
            f"{path} has frames {numbers.min()} to {numbers.max()}, the file of positions numbers "
            f"{of_positions.min()} to {of_positions.max()}; expected the same numbers. Correct the file of positions."
        )
        raise DataFormatError(msg)
    said = []
    if len(rows) < count:
        said.append(f"patterns: {count - len(rows)} of {count} without a position left out")
    if len(rows) < found:
        said.append(f"positions: {found - len(rows)} of {found} without a pattern left out")
    return JoinedRows(rows, places, tuple(said))


def _table(path: Path, choice: dict[str, str]) -> _Table:
    kind = kind_of_file(path)
    if kind == "spec" or "scan" in choice:
        number = choice.get("scan", "")
        if not number.isdecimal():
            msg = f"{path} is a SPEC file and no scan of it is chosen ({number or 'nothing'}); expected a number. Give "
            raise DataFormatError(msg + f"--positions_file {path}:scan=NUMBER,y=MOTOR,x=MOTOR,unit=mm.")
        spec = read_spec(path, int(number))
        return _Table(path, list(spec.names), spec, choice)
    if kind is not None:
        msg = f"positions_file {path} is {told_kind(path)}"
        raise DataFormatError(msg)
    with path.open("rb") as stream:
        head = stream.read(4096)
    if not head or b"\0" in head:
        msg = f"positions_file {path} is {'empty' if not head else 'no text'}; expected columns of numbers. {_ADVICE}"
        raise DataFormatError(msg)
    heading = heading_of(path)
    decimal = next((word for word in heading if _DECIMAL_COMMA.fullmatch(word)), None)
    if decimal is not None:
        msg = f"{path} has numbers such as {decimal!r}; expected a point as the decimal mark. Export it with points."
        raise DataFormatError(msg)
    return _Table(path, heading, None, choice)


def _chosen(table: _Table, axis: str) -> tuple[str, float]:
    """Return the column that is chosen for an axis, and the factor of its unit."""
    name = table.choice[axis]
    heading = table.heading
    title = heading[int(name)] if name not in heading and name.isdecimal() and int(name) < len(heading) else name
    match = _UNIT.fullmatch(title)
    in_title = (match[1] or match[2]) if match else ""
    unit = table.choice.get("unit") or (in_title if in_title and is_unit(in_title) else "")
    if not unit:
        msg = f"column {name!r} of {table.path} says no unit; expected one. Choose it: unit=um behind the columns."
        raise DataFormatError(msg)
    return name, factor(unit, LENGTH, f"column {name!r} of {table.path}")


def _column(table: _Table, axis: str) -> tuple[str, float]:
    """Find the column of an axis, and what its numbers are multiplied with to be metres."""
    matches = [(name, _NAME.fullmatch(name)) for name in table.heading]
    found = [(name, match[2]) for name, match in matches if match and match[1].lower() == axis]
    known = [(name, unit) for name, unit in found if unit and is_unit(unit)]
    if len(known) != 1:
        have = ", ".join(table.heading) or "no heading"
        msg = f"{table.path} has {len(known)} columns of {axis} with a unit ({have}); expected one. {_ADVICE}"
        raise DataFormatError(msg)
    name, unit = known[0]
    return name, factor(unit, LENGTH, f"column {name!r} of {table.path}")
