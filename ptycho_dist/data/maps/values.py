"""Numbers and arrays that a map names, read from the scan's files and brought to metres, eV or pixels."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.hdf5_links import load_array, load_attributes, members, shape_of
from ptycho_dist.data.maps.columns import read_column
from ptycho_dist.data.maps.schema import Quantity, UnitAt, Where
from ptycho_dist.data.maps.units import ANGLE, PIXEL, default_unit, factor, is_pixel, unit_text
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray

_MOST_PARTS = 100_000
_AGREE = 1e-3


@dataclass
class Files:
    """The files of a scan: the one that was named, and others in its folder.

    Parameters
    ----------
    path
        The scan file.
    stem_ends
        Endings of its name that are no part of the stem.
    used
        Files besides it that were used, in order.
    notes
        What was decided by values, in words, in order.
    """

    path: Path
    stem_ends: Sequence[str] = ()
    used: dict[Path, None] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """Name of the scan without its ending."""
        stem = self.path.stem
        for end in self.stem_ends:
            if stem.endswith(end):
                return stem[: len(stem) - len(end)]
        return stem

    def matching(self, pattern: str | None) -> list[Path]:
        """List the files of a pattern in the folder of the scan, in natural order; the scan itself without one.

        Raises
        ------
        DataFormatError
            If the pattern leads out of the folder.
        """
        if pattern is None:
            return [self.path]
        folder = self.path.resolve().parent
        name = pattern.replace("{stem}", _literal(self.stem) if "*" in pattern else self.stem)
        if Path(name).is_absolute() or ".." in Path(name).parts:
            msg = f"the map names the file {pattern!r}; expected one in the folder of {self.path}. Change file:."
            raise DataFormatError(msg)
        found = sorted(folder.glob(name), key=natural) if "*" in name else [folder / name]
        return [one for one in found if one.is_file() and one.resolve().is_relative_to(folder)]

    def one(self, where: Where) -> Path | None:
        """Find the one file of a place; None where there is none.

        Raises
        ------
        DataFormatError
            If several fit.
        """
        found = self.matching(where.file)
        if len(found) > 1:
            names = ", ".join(one.name for one in found[:4])
            msg = f"the pattern {where.file!r} of the map fits {len(found)} files ({names}); expected one. Narrow it."
            raise DataFormatError(msg)
        return found[0] if found else None

    def use(self, path: Path) -> Path:
        """Note that a file holds values of the scan."""
        if path.resolve() != self.path.resolve():
            self.used[path] = None
        return path


def _literal(stem: str) -> str:
    return re.sub(r"([\[\]?*])", r"[\1]", stem)


def natural(name: Path | str) -> list[tuple[int, int | str]]:
    """Key that sorts names by the numbers in them."""
    text = name.name if isinstance(name, Path) else name
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", text)]


def expand(path: Path, key: str) -> list[str]:
    """List the paths in an HDF5 file that fit one with * in its components, in natural order."""
    found = [""]
    for part in (one for one in key.split("/") if one):
        if "*" not in part:
            found = [f"{base}/{part}".lstrip("/") for base in found]
            continue
        found = [
            f"{base}/{name}".lstrip("/")
            for base in found
            for name in sorted(members(path, base), key=natural)
            if fnmatch.fnmatchcase(name, part)
        ]
        if len(found) > _MOST_PARTS:
            msg = f"{key!r} fits more than {_MOST_PARTS} names in {path}. Narrow the map."
            raise DataFormatError(msg)
    return found


def is_there(files: Files, where: Where) -> bool:
    """Tell whether a place that a map names exists; a link whose target is missing counts as there."""
    for path in files.matching(where.file):
        if where.path is None:
            return True
        try:
            keys = expand(path, where.path)
            if any(shape_of(path, key) is not None or members(path, key) for key in keys):
                return where.attribute is None or where.attribute in load_attributes(path, keys[0])
        except DataFormatError:
            return True
    return False


def first_there(files: Files, alternatives: Sequence[Quantity]) -> Quantity | None:
    """Return the first alternative that exists; None where none does."""
    return next((one for one in alternatives if one.value is not None or is_there(files, one)), None)


def array(files: Files, place: Quantity, kind: str, name: str) -> tuple[FloatArray, bool]:
    """Load an array in metres, eV or radians.

    Returns
    -------
    ndarray, float64
        As the file has its axes.
    bool
        Whether it is in pixels, which are not converted.

    Raises
    ------
    DataFormatError
        If it is missing, no numbers, or its unit is not known.
    """
    parts = []
    for path in files.matching(place.file):
        values = _numbers(files.use(path), place, name)
        parts.append(values.mean(axis=0, keepdims=True) if place.average == "file" else values)
    if not parts:
        msg = f"{name}: no file {place.file!r} in the folder of {files.path}; expected it. Copy it there."
        raise DataFormatError(msg)
    values = _joined(parts, f"{name} in {files.path}")
    unit = _unit_by_size(files, place, values, name) or unit_of(files, place, kind, f"{name} in {files.path}")
    scale = 1.0 if is_pixel(unit) else factor(unit, kind, f"{name} in {files.path}")
    result = place.sign * scale * values
    if place.times_cos is not None and is_there(files, place.times_cos):
        angle = number(files, (place.times_cos,), ANGLE, f"{name}.times_cos")
        result = result * np.cos(angle)
    return result, is_pixel(unit)


def _numbers(path: Path, place: Quantity, name: str) -> FloatArray:
    values = plain_numbers(path, place, name)
    return values if place.component is None else np.asarray(values[..., place.component])


def plain_numbers(path: Path, place: Where, name: str) -> NDArray[Any]:
    """Load what a place holds as real numbers, float64.

    Raises
    ------
    DataFormatError
        If it is missing or no numbers.
    """
    if place.column is not None:
        return read_column(path, place.column)
    assert place.path is not None
    if place.attribute is not None:
        values = np.asarray(load_attributes(path, place.path)[place.attribute])
    elif place.join_all:
        values = _joined([load_array(path, key) for key in expand(path, place.path)], f"{name} in {path}")
    else:
        values = load_array(path, _one_key(path, place.path))
    if values.dtype.kind not in "iufb" or values.size == 0:
        msg = f"{name} at {place.path!r} in {path} is {values.dtype} of shape {values.shape}; expected real numbers. "
        raise DataFormatError(msg + "Name another path in the map.")
    return values.astype(np.float64)


def _joined(parts: Sequence[NDArray[Any]], where: str) -> NDArray[Any]:
    """Join arrays along their first axis; a number alone stays one."""
    if len(parts) == 1:
        return parts[0]
    lists = [np.atleast_1d(one) for one in parts]
    if len({one.shape[1:] for one in lists}) != 1:
        shapes = ", ".join(str(one.shape) for one in parts[:4])
        msg = f"{where} has parts of shapes {shapes}; expected the same but for the first axis. Name other paths."
        raise DataFormatError(msg)
    return np.concatenate(lists)


def _one_key(path: Path, key: str) -> str:
    keys = expand(path, key)
    return keys[0] if keys else key


def unit_of(files: Files, place: Quantity, kind: str, where: str) -> str:
    """Return the unit of a quantity: as the map says, as the file says, or the default of its kind."""
    at = place.unit
    if at is None:
        return default_unit(kind)
    said = _unit_in_file(files, place, at)
    if said or at.default:
        return said or str(at.default)
    msg = f"{where} has no attribute {at.attribute!r} that names its unit; expected one. Name the unit in the map."
    raise DataFormatError(msg)


def _unit_by_size(files: Files, place: Quantity, values: FloatArray, name: str) -> str:
    """Return the unit that only the size of the values leaves possible, and note it; empty where it is the default."""
    at = place.unit
    if at is None or at.above is None or _unit_in_file(files, place, at):
        return ""
    file = next(iter(files.matching(place.file)), None)
    others = [key for key in at.of if file is not None and shape_of(file, key) is not None]
    size = max((_span(load_array(file, key)) for key in others if file is not None), default=_span(values))
    if not size > at.above:
        return ""
    files.notes[f"{name}: in {at.then}, for {size:.4g} can be no {at.default}"] = None
    return str(at.then)


def _span(values: NDArray[Any]) -> float:
    """Span of an array, size of a number; 0 of what holds no finite number."""
    numbers = values[np.isfinite(values)] if values.dtype.kind in "iuf" else np.empty(0)
    if numbers.size == 0:
        return 0.0
    return float(np.ptp(numbers)) if values.size > 1 else abs(float(numbers[0]))


def _unit_in_file(files: Files, place: Quantity, at: UnitAt) -> str:
    found = files.matching(place.file)
    if not found or not (at.path or (at.attribute and place.path)):
        return ""
    path = found[0]
    if at.path is not None:
        return unit_text(load_array(path, at.path)) if shape_of(path, at.path) is not None else ""
    return unit_text(load_attributes(path, _one_key(path, str(place.path))).get(at.attribute, ""))


def number(files: Files, alternatives: Sequence[Quantity], kind: str, name: str) -> float:
    """Load one number in metres, eV or radians: NaN where no alternative is there.

    Arrays of one value, and of values that agree within 0.1 %, count as one.

    Raises
    ------
    DataFormatError
        If it is no number, has values that differ, or its unit is not known.
    """
    place = first_there(files, alternatives)
    if place is None:
        return float("nan")
    where = f"{name} in {files.path}"
    if place.value is not None:
        unit = place.unit.default if place.unit is not None and place.unit.default else default_unit(kind)
        return place.sign * place.value * (1.0 if is_pixel(unit) else factor(unit, kind, where))
    values = array(files, place, kind, name)[0].ravel()
    values = np.diff(np.sort(values)) if place.spacing else values
    values = values[np.isfinite(values)]
    if not values.size:
        return float("nan")
    if np.ptp(values) > _AGREE * np.abs(values).max():
        msg = (
            f"{where} has values from {values.min():.6g} to {values.max():.6g}; expected one. Name another in the map."
        )
        raise DataFormatError(msg)
    return float(values[0])


def is_in_pixels(files: Files, place: Quantity) -> bool:
    """Tell whether a quantity is said to be in pixels."""
    return place.unit is not None and is_pixel(unit_of(files, place, "length", PIXEL))
