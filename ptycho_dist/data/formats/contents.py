"""What is in a file of arrays, whatever it means: names, shapes, types, small values, units, and where links lead."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptycho_dist.data.formats import npz
from ptycho_dist.data.formats.containers import container_of
from ptycho_dist.data.formats.hdf5 import other_sources, reading
from ptycho_dist.data.formats.hdf5_links import locate, names_in
from ptycho_dist.data.formats.matlab5 import variables_in
from ptycho_dist.errors import DataFormatError

MOST_ENTRIES = 20_000
"""Entries of a file that are listed."""
_MOST_DEPTH = 32
_MOST_ALIKE, _MOST_VALUES = 3, 12
"""Arrays of one group with the same shape and type, and those with a value, that are shown."""
_SHOWN_VALUES = 4
_SHOWN_CHARACTERS = 60


class NoContentError(DataFormatError):
    """A file is of a kind that has no names to list."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An array, a group or a link in a file.

    Parameters
    ----------
    key
        Path in the file.
    shape, dtype
        Of an array; None of a group or of a link that leads nowhere.
    value
        A few values of a small array, or a text; empty where there are more.
    numbers
        These values; None where there are more, or none.
    units
        What an attribute ``units`` says.
    link
        Where a link leads, in words; empty where it is none.
    is_missing
        Whether it is a link that leads nowhere.
    """

    key: str
    shape: tuple[int, ...] | None = None
    dtype: np.dtype[Any] | None = None
    value: str = ""
    numbers: tuple[float, ...] | None = None
    units: str = ""
    link: str = ""
    is_missing: bool = False

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.key.rpartition("/")[2]

    @property
    def parent(self) -> str:
        """Path of the group that holds it."""
        return self.key.rpartition("/")[0]

    @property
    def size(self) -> int:
        """Number of values; 0 of a group."""
        return math.prod(self.shape) if self.shape is not None else 0

    @property
    def n_bytes(self) -> int:
        """Bytes of its values; 0 of a group."""
        return self.size * (self.dtype.itemsize if self.dtype is not None else 0)

    def in_words(self) -> str:
        """Say in one line what it is, without its path."""
        told = [f"-> {self.link}{' (missing)' * self.is_missing}"] if self.link else []
        if self.shape is not None and self.dtype is not None:
            told.append(f"{_kind(self.dtype)} {self.shape}" if self.shape else _kind(self.dtype))
        told += [f"= {self.value}"] if self.value else []
        told += [self.units] if self.units else []
        return " ".join(told)


def _kind(dtype: np.dtype[Any]) -> str:
    return "text" if dtype.kind in "SUO" else "pair" if dtype.names else dtype.name


def contents(path: Path) -> tuple[str, list[Entry]]:
    """List what is in a file.

    Parameters
    ----------
    path
        HDF5 (MATLAB 7.3 too), NPZ, or MATLAB up to 7.

    Returns
    -------
    str
        Kind of file: hdf5, npz or mat.
    list of Entry
        At most 20000; links are listed, and followed inside the folder of the file, but not walked through.

    Raises
    ------
    NoContentError
        If it is no such file.
    DataFormatError
        If it is damaged.
    """
    found = container_of(path)
    if found is not None and found.name == "hdf5":
        return "hdf5", list(_of_hdf5(path))
    if found is not None and found.name == "npz":
        return "npz", [_of_member(path, name) for name in npz.member_names(path)[:MOST_ENTRIES]]
    if path.suffix.lower() == ".mat":
        return "mat", list(_of_matlab(path))
    msg = f"{path} is neither HDF5, NPZ nor MATLAB; expected such a file. Export it again."
    raise NoContentError(msg)


def _of_member(path: Path, name: str) -> Entry:
    header = npz.member_header(path, name)
    numbers: tuple[float, ...] | None = None
    if header.dtype.kind in "iufb" and math.prod(header.shape) <= _SHOWN_VALUES:
        numbers = tuple(float(one) for one in npz.load_member(path, name).ravel())
    value = ", ".join(f"{one:.6g}" for one in numbers or ())
    return Entry(key=name, shape=header.shape, dtype=header.dtype, numbers=numbers, value=value)


def _of_matlab(path: Path) -> Iterator[Entry]:
    for name, shape, kind in variables_in(path):
        is_number = kind in ("double", "single") or "int" in kind
        dtype = np.dtype({"double": "f8", "single": "f4"}.get(kind, kind)) if is_number else None
        yield Entry(key=name, shape=shape if is_number else None, dtype=dtype, value="" if is_number else kind)


def _of_hdf5(path: Path) -> Iterator[Entry]:
    with reading(path) as file:
        for number, entry in enumerate(_walk(path, file, "", 0)):
            if number >= MOST_ENTRIES:
                return
            yield entry


def _walk(path: Path, group: h5py.Group, base: str, depth: int) -> Iterator[Entry]:
    for name in names_in(group):
        key = f"{base}/{name}".lstrip("/")
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.HardLink):
            found = group[name]
            if isinstance(found, h5py.Group):
                yield Entry(key=key)
                if depth < _MOST_DEPTH:
                    yield from _walk(path, found, key, depth + 1)
            elif isinstance(found, h5py.Dataset):
                yield _of_dataset(key, found)
        elif link is not None:
            yield _of_link(path, key, link)


def _of_link(path: Path, key: str, link: Any) -> Entry:
    leads = link.path if isinstance(link, h5py.SoftLink) else f"{link.filename}:{link.path}"
    try:
        place = locate(path, key)
    except DataFormatError:
        place = None
    if place is None:
        return Entry(key=key, link=leads, is_missing=True)
    with reading(place.path) as file:
        found = file[place.key or "/"]
        return _of_dataset(key, found, leads) if isinstance(found, h5py.Dataset) else Entry(key=key, link=leads)


def _of_dataset(key: str, dataset: h5py.Dataset, link: str = "") -> Entry:
    units = dataset.attrs.get("units", "") if "units" in dataset.attrs else ""
    value, numbers = _value(dataset)
    return Entry(
        key=key,
        shape=dataset.shape,
        dtype=dataset.dtype,
        value=value,
        numbers=numbers,
        units=_text(units),
        link=link,
    )


def _value(dataset: h5py.Dataset) -> tuple[str, tuple[float, ...] | None]:
    """Read a few values, as text and as numbers, that lie in the file.

    No texts of variable length are read, of which damage may claim any length.
    """
    is_elsewhere = bool(dataset.external) or bool(other_sources(dataset))
    if dataset.shape is None or is_elsewhere or not 0 < math.prod(dataset.shape) <= _SHOWN_VALUES:
        return "", None
    if dataset.dtype.kind in "iufb":
        numbers = tuple(float(one) for one in np.asarray(dataset[()]).ravel())
        return ", ".join(f"{one:.7g}" for one in numbers), numbers
    if dataset.dtype.kind == "S":
        return repr(_text(np.asarray(dataset[()]).ravel()[0])), None
    return "", None


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    printable = "".join(one if one.isprintable() else " " for one in text).strip()
    return printable if len(printable) <= _SHOWN_CHARACTERS else printable[:_SHOWN_CHARACTERS] + "..."


def folded(entries: list[Entry], most_lines: int = 80) -> list[str]:
    """Write a tree of entries in lines; of many that are alike, or of too many lines, the rest is counted.

    Parameters
    ----------
    entries
        In the order of the tree.
    most_lines
        Lines that are shown.
    """
    lines: list[str] = []
    counts = Counter(_alike(entry) for entry in entries)
    seen: Counter[tuple[Any, ...]] = Counter()
    left_out: set[str] = set()
    for entry in entries:
        if entry.parent in left_out:
            left_out.add(entry.key)
            continue
        alike, margin = _alike(entry), "  " * entry.key.count("/")
        seen[alike] += 1
        is_array = entry.shape is not None or bool(entry.link)
        most = _MOST_VALUES if entry.value or not is_array else _MOST_ALIKE
        if seen[alike] <= most or counts[alike] <= most + 1:
            lines.append(f"{margin}{entry.name}{'/' * (not is_array)} {entry.in_words()}".rstrip())
            continue
        left_out.add(entry.key)
        if seen[alike] == most + 1:
            lines.append(f"{margin}... and {counts[alike] - most} more of the same kind")
    hidden = len(lines) - most_lines
    return [*lines[:most_lines], f"... and {hidden} more lines"] if hidden > 0 else lines


def _alike(entry: Entry) -> tuple[Any, ...]:
    return entry.parent, entry.shape, str(entry.dtype), bool(entry.link), bool(entry.value)
