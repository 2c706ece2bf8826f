"""An object that a file holds, and where it lies in the frame of a scan's positions."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.base import ComplexArray
from ptycho_dist.data.formats.results.reading import kind_of_result, read_result
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray

_NPZ_KEYS = ("object", "objectGuess", "psi")


def read_npz_object(path: Path) -> NDArray[np.complexfloating]:
    """Read a complex object (H, W) from an NPZ; axes of length 1 are dropped.

    Raises
    ------
    DataFormatError
        If the file is no NPZ, or holds no such array.
    """
    if not zipfile.is_zipfile(path):
        found = "no NPZ archive" if path.is_file() else "no file"
        msg = f"{path} is {found}; expected an NPZ file with a complex 'object'. Check the path, or export it again."
        raise DataFormatError(msg)
    try:
        with np.load(path, allow_pickle=False) as file:
            for key in _NPZ_KEYS:
                if key in file:
                    found = np.squeeze(file[key])
                    if found.ndim == 2 and np.iscomplexobj(found):
                        return np.asarray(found)
            keys = ", ".join(file.files)
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read ({error}); expected an NPZ file with a complex 'object'. Check the path."
        raise DataFormatError(msg) from error
    msg = f"{path} holds {keys}; expected a complex (H, W) array named one of {', '.join(_NPZ_KEYS)}. Rename it."
    raise DataFormatError(msg)


def read_stored_object(path: Path, positions_px: FloatArray) -> tuple[ComplexArray, FloatArray]:
    """Read an object (H, W) and the position (y, x) of its pixel (0, 0).

    Parameters
    ----------
    path
        Product, or NPZ with a complex ``object``; its corner is taken to lie near the smallest position.
    positions_px
        Patch corners (B, 2) of the scan that the object belongs to.

    Raises
    ------
    DataFormatError
        If the file holds no object.
    """
    if path.suffix == ".npz" and kind_of_result(path) is None:
        return read_npz_object(path), np.floor(positions_px.min(axis=0))
    product = read_result(path)
    return product.object_, np.asarray(product.geometry.object_origin_px)
