"""Checks of paths that cost nothing, before any rank starts or works."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ptycho_dist.errors import ConfigError, DataFormatError

SCAN_SUFFIXES = (".h5", ".hdf5")
"""How the name of a scan that is written may end."""


def require_scan(path: Path) -> None:
    """Refuse a scan that is no file.

    Raises
    ------
    DataFormatError
        If it is missing or a folder.
    """
    if not path.is_file():
        msg = f"{path} is not a file; expected a scan. Check the path."
        raise DataFormatError(msg)


def require_source(path: Path) -> None:
    """Refuse what is neither a scan file nor a folder; a folder without an index is refused when that is read.

    Raises
    ------
    DataFormatError
        If it is missing.
    """
    if not path.is_dir():
        require_scan(path)


def require_reference(path: Path | None) -> None:
    """Refuse a reference that is no file, before a network is trained for it.

    Raises
    ------
    DataFormatError
        If it is missing or a folder.
    """
    if path is not None and not path.is_file():
        msg = f"{path} is not a file; expected a reference object (product or NPZ). Check --reference."
        raise DataFormatError(msg)


def require_product(path: Path) -> None:
    """Refuse a product that is no file, before anything is written beside it.

    Raises
    ------
    DataFormatError
        If it is missing.
    """
    if not path.is_file():
        msg = f"{path} is missing; expected an HDF5 file, a product, or the folder of a run. Check the path."
        raise DataFormatError(msg)


def require_output_folder(path: Path, name: str = "output_dir") -> None:
    """Refuse a folder that cannot be made or written; nothing is made here.

    Raises
    ------
    ConfigError
        Naming the file in the way, or the folder that is not writable.
    """
    nearest = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not nearest.is_dir():
        msg = f"{name} {path}: {nearest} is a file; expected a folder. Choose another path, or move the file away."
        raise ConfigError(msg)
    if not os.access(nearest, os.W_OK | os.X_OK):
        msg = f"{name} {path}: {nearest} is not writable; expected a folder to write in. Choose another path."
        raise ConfigError(msg)


def require_output_file(path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a file that cannot be written, or whose name tells another format.

    Raises
    ------
    ConfigError
        If the path is a folder, has another suffix, or lies where nothing can be written.
    """
    if path.is_dir():
        msg = f"{path} is a folder; expected the name of a file to write. Write {path / f'scan{suffixes[0]}'}."
        raise ConfigError(msg)
    if path.suffix.lower() not in suffixes:
        kind = "an HDF5 file" if suffixes == SCAN_SUFFIXES else "a file of another kind"
        msg = f"{path} is to be {kind}; expected a name that ends in {' or '.join(suffixes)}. Rename it."
        raise ConfigError(msg)
    require_output_folder(path.parent, "folder")


def require_new_files(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse to write over files, unless that is asked for.

    Raises
    ------
    ConfigError
        Naming the first that is there.
    """
    there = next((path for path in paths if path.exists()), None)
    if there is not None and not overwrite:
        msg = f"{there} exists; expected a new file to write. Choose another name, or give --overwrite."
        raise ConfigError(msg)
