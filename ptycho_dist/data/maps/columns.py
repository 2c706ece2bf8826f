"""Columns of numbers in text files: with commas, semicolons, tabs or blanks between, and lines of words before them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray

_SEPARATORS = ";\t,"
_MOST_BYTES, _MOST_HEADING = 1 << 26, 1 << 16


def read_column(path: Path, column: int | str) -> FloatArray:
    """Read a column of a text file.

    Parameters
    ----------
    path
        The file. Lines before the first line of numbers are a heading, whose last line may name the columns.
    column
        Number from 0, or a name in the heading.

    Returns
    -------
    ndarray, float64, shape (n,)

    Raises
    ------
    DataFormatError
        If there is no such column, or a line is short or holds no numbers.
    """
    if path.stat().st_size > _MOST_BYTES:
        msg = f"{path} has {path.stat().st_size} bytes; expected a text file of at most {_MOST_BYTES}. Name another."
        raise DataFormatError(msg)
    heading: list[str] = []
    rows: list[float] = []
    place: int | None = column if isinstance(column, int) else None
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            words = _words(line)
            if not words or line.lstrip().startswith("#"):
                heading = words if words and not rows else heading
                continue
            if not rows and not _are_numbers(words):
                heading = words
                continue
            place = _place(path, column, heading) if place is None else place
            rows.append(_value(path, number, words, place))
    if not rows:
        msg = f"{path} holds no line of numbers; expected columns of positions. Name another file."
        raise DataFormatError(msg)
    return np.array(rows)


def heading_of(path: Path) -> list[str]:
    """Return the names in the last line before the first line of numbers of a text file; empty without such a line."""
    heading: list[str] = []
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        for line in lines:
            words = _words(line[:_MOST_HEADING])
            if words and not line.lstrip().startswith("#") and _are_numbers(words):
                break
            heading = words or heading
    return heading


def _words(line: str) -> list[str]:
    text = line.strip().lstrip("#").strip()
    mark = next((one for one in _SEPARATORS if one in text), None)
    return text.split() if mark is None else [one.strip().strip('"').strip() for one in text.split(mark)]


def _are_numbers(words: list[str]) -> bool:
    try:
        [float(word) for word in words if word]
    except ValueError:
        return False
    return True


def _place(path: Path, column: int | str, heading: list[str]) -> int:
    if isinstance(column, int):
        return column
    if column not in heading:
        msg = f"{path} has no column {column!r}; its heading is {', '.join(heading) or 'empty'}. Name another column."
        raise DataFormatError(msg)
    return heading.index(column)


def _value(path: Path, number: int, words: list[str], place: int) -> float:
    try:
        return float(words[place])
    except (IndexError, ValueError) as error:
        found = words[place] if place < len(words) else f"only {len(words)} columns"
        msg = f"line {number} of {path} has {found!r}, no number in column {place}; expected one. Correct the file."
        raise DataFormatError(msg) from error
