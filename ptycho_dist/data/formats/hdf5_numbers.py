"""Single numbers and short texts in HDF5 files, in whatever shape and unit programs have written them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.base import NAN
from ptycho_dist.data.formats.hdf5_links import load_array, load_attributes, locate
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray

LENGTHS_M = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "nm": 1e-9, "pm": 1e-12, "a": 1e-10, "angstrom": 1e-10}
ENERGIES_EV = {"ev": 1.0, "kev": 1e3, "mev": 1e6, "gev": 1e9, "j": 1 / 1.602176634e-19}
_SAME = 1e-6
_SPELLINGS = {"micron": "um", "microns": "um", "metre": "m", "meter": "m", "metres": "m", "meters": "m", "joule": "j"}


def load_numbers(path: Path, key: str) -> FloatArray:
    """Load an array of real numbers as float64, through its links.

    Raises
    ------
    DataFormatError
        If it is missing, damaged or of something else.
    """
    values = load_array(path, key)
    if values.dtype.kind not in "iufb":
        msg = f"{key!r} in {path} has dtype {values.dtype}; expected real numbers. Export it again."
        raise DataFormatError(msg)
    return values.astype(np.float64)


def first_of(path: Path, keys: Iterable[str]) -> str | None:
    """Return the first of some paths that an HDF5 file has; None where it has none."""
    return next((key for key in keys if locate(path, key) is not None), None)


def number(path: Path, keys: str | Iterable[str], units: Mapping[str, float] | None = None, unit: str = "") -> float:
    """Read a number; NaN where the file has none of these paths, or no number there.

    Parameters
    ----------
    path, keys
        The file, and paths of which the first that is there counts.
    units
        Factor of each unit, in small letters; an attribute ``units`` that names one of them is obeyed.
    unit
        Unit where the attribute is absent.

    Raises
    ------
    DataFormatError
        If there are several numbers that differ.
    """
    key = first_of(path, (keys,) if isinstance(keys, str) else keys)
    if key is None:
        return NAN
    value = single_number(path, key, load_array(path, key))
    if units is None:
        return value
    return value * units.get(unit_of(path, key), units[unit])


def single_number(path: Path, key: str, values: NDArray[Any]) -> float:
    """Return the number that all values are; NaN of none, or of text.

    Raises
    ------
    DataFormatError
        If they differ.
    """
    flat = np.asarray(values).ravel()
    if flat.dtype.kind not in "iufb" or not flat.size:
        return NAN
    numbers = flat.astype(np.float64)
    if not np.allclose(numbers, numbers[0], rtol=_SAME, atol=0, equal_nan=True):
        msg = (
            f"{key!r} in {path} holds {flat.size} numbers from {numbers.min():.6g} to {numbers.max():.6g}; expected "
            "one for the whole scan. Export the scan at one of them, or say it by a flag and leave it out of the file."
        )
        raise DataFormatError(msg)
    return float(numbers[0])


def attribute_number(path: Path, attributes: Mapping[str, Any], name: str) -> float:
    """Return the number that an attribute holds; NaN where it is absent or no number.

    Raises
    ------
    DataFormatError
        If it holds several numbers that differ.
    """
    return single_number(path, name, np.asarray(attributes.get(name, NAN)))


def attribute_text(attributes: Mapping[str, Any], name: str) -> str:
    """Return the text that an attribute holds, or its first one; empty where it is absent."""
    values = np.asarray(attributes.get(name, "")).ravel()
    return as_text(values[0]) if values.size else ""


def unit_of(path: Path, key: str) -> str:
    """Return the unit that a dataset states, in small letters; empty where it states none."""
    text = (
        attribute_text(load_attributes(path, key), "units")
        .strip()
        .lower()
        .replace("\u00b5", "u")
        .replace("\u03bc", "u")
        .replace("\u00e5", "a")
    )
    return _SPELLINGS.get(text, text)


def as_text(value: Any) -> str:
    """Return text that HDF5 holds as bytes or str."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
