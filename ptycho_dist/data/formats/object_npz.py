"""The object that an NPZ of another program holds."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.errors import DataFormatError

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
