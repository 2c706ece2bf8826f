"""Arrays in files of their own, such as a mask or a dark: NumPy, HDF5, a picture, or a column of a text file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats import hdf5, npz
from ptycho_dist.data.formats.hdf5_links import load_array, names_in
from ptycho_dist.data.maps.columns import heading_of, read_column
from ptycho_dist.errors import DataFormatError

TEXT_SUFFIXES = (".csv", ".txt", ".dat", ".tsv")
_HDF5_SUFFIXES = (".h5", ".hdf5", ".nxs", ".cxi")
_TIFF_SUFFIXES = (".tif", ".tiff")


def file_of(given: Path) -> Path:
    """Return the file of an array, which may be given as FILE:NAME."""
    return _split(given)[0]


def name_of(given: Path) -> str:
    """Name it in words: the name of the file, and of the array where that was given."""
    path, name = _split(given)
    return path.name if name is None else f"{path.name}:{name}"


def load_values(given: Path, what: str) -> NDArray[Any]:
    """Load an array.

    Parameters
    ----------
    given
        NPY; NPZ or HDF5, optionally as FILE:NAME; text as FILE:COLUMN, which may be left out where there is one column;
        or a picture such as PNG or TIFF (all its pages).
    what
        Which array it is, such as ``mask``: the name of the flag, and of the array where the file holds several.

    Raises
    ------
    DataFormatError
        If there is no such file or array, or it cannot be read.
    """
    path, name = _split(given)
    if not path.is_file():
        msg = f"{what} {path} is {'a folder' if path.is_dir() else 'missing'}; expected a file. Check --{what}."
        raise DataFormatError(msg)
    if path.stat().st_size == 0:
        msg = f"{what} {path} is empty; expected NPY, NPZ, HDF5, PNG, TIFF or text. Copy or export it again."
        raise DataFormatError(msg)
    suffix = path.suffix.lower()
    try:
        if suffix in _HDF5_SUFFIXES or h5py.is_hdf5(path):
            return _from_hdf5(path, name, what)
        if suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        if suffix == ".npz":
            return npz.load_member(path, _choose(path, npz.member_names(path), name, what))
        if suffix in TEXT_SUFFIXES:
            return read_column(path, _column(path, name, what))
        return _from_picture(path)
    except (ValueError, OSError, SyntaxError, EOFError) as error:
        msg = f"{what} {path} cannot be read ({error}); expected NPY, NPZ, HDF5, PNG, TIFF or text. Export it again."
        raise DataFormatError(msg) from error


def _split(given: Path) -> tuple[Path, str | None]:
    text = str(given)
    if not given.exists() and ":" in text:
        file, _, name = text.rpartition(":")
        return Path(file), name.lstrip("/")
    return given, None


def _from_hdf5(path: Path, name: str | None, what: str) -> NDArray[Any]:
    with hdf5.reading(path) as file:
        names = names_in(file)
    return load_array(path, _choose(path, names, name, what))


def _from_picture(path: Path) -> NDArray[Any]:
    if path.suffix.lower() in _TIFF_SUFFIXES:
        from tifffile import imread as read_tiff

        return np.asarray(read_tiff(path))
    from skimage.io import imread

    return np.asarray(imread(path))


def _choose(path: Path, names: tuple[str, ...], name: str | None, what: str) -> str:
    """Return the array to read: the one named, the only one, or the one called as what it is."""
    wanted = name or (what if what in names else names[0] if len(names) == 1 else None)
    is_there = wanted in names or (wanted is not None and "/" in wanted)
    if wanted is None or not is_there:
        expected = "one array" if name is None else f"an array {name!r}"
        msg = f"{what} {path} holds {', '.join(names) or 'nothing'}; expected {expected}. Name it: --{what} FILE:NAME."
        raise DataFormatError(msg)
    return wanted


def _column(path: Path, name: str | None, what: str) -> int | str:
    heading = heading_of(path)
    if name is not None:
        return int(name) if name.isdecimal() and name not in heading else name
    if what in heading or len(heading) > 1:
        return _choose(path, tuple(heading), None, what)
    return 0
