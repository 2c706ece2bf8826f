"""Columns of a scan in a SPEC file: blocks that begin with ``#S NUMBER``, names (``#L``) two blanks apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray

_BETWEEN_NAMES = re.compile(r" {2,}|\t")
_NAMED = 12


@dataclass(frozen=True)
class SpecScan:
    """One scan of a SPEC file.

    Parameters
    ----------
    names
        Of the columns.
    values
        float64, shape (n, columns).
    """

    names: tuple[str, ...]
    values: FloatArray


def read_spec(path: Path, number: int) -> SpecScan:
    """Read a scan by its number; of several of one number (a new start of the file) the last.

    Raises
    ------
    DataFormatError
        If there is no such scan, it has no points, or a line does not have a number for each column.
    """
    names: tuple[str, ...] = ()
    rows: list[list[float]] = []
    there: list[str] = []
    inside = False
    with path.open(encoding="utf-8", errors="replace") as lines:
        for at, line in enumerate(lines, start=1):
            if line.startswith("#S "):
                there.append(line.split()[1] if len(line.split()) > 1 else "?")
                inside = there[-1] == str(number)
                names, rows = ((), []) if inside else (names, rows)
            elif inside and line.startswith("#L"):
                names = tuple(_BETWEEN_NAMES.split(line[2:].strip()))
            elif inside and line[:1] in "+-.0123456789":
                rows.append(_row(path, at, line, names))
    if str(number) not in there or not rows:
        what = f"has no scan {number}" if str(number) not in there else f"has no points in scan {number}"
        some = ", ".join(there[:_NAMED]) + ", ..." * (len(there) > _NAMED)
        msg = f"{path} {what} (there are {some or 'none'}); expected one with positions. Name another: scan=NUMBER."
        raise DataFormatError(msg)
    return SpecScan(names, np.array(rows))


def _row(path: Path, at: int, line: str, names: tuple[str, ...]) -> list[float]:
    words = line.split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != len(names):
        msg = f"line {at} of {path} has {len(words)} words; expected {len(names)} numbers, as its #L names. Correct it."
        raise DataFormatError(msg)
    return values
