"""Where the truth or a reference object comes from."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.scan import Scan
from ptycho_dist.errors import DataFormatError
from ptycho_dist.evaluate.metrics import Placed
from ptycho_dist.types import FloatArray

_NPZ_KEYS = ("object", "objectGuess", "psi")


def find_reference(path: Path | None, scan: Scan | None, positions_px: FloatArray) -> tuple[str, Placed] | None:
    """Object to compare with, and what to call it: a file's if given, else the scan's own.

    Parameters
    ----------
    path
        Product, or NPZ with a complex ``object`` (H, W); its corner is taken to lie near the smallest position.
    scan
        Scan whose own object serves as the truth.
    positions_px
        Patch corners (B, 2) of the product to compare.

    Raises
    ------
    DataFormatError
        If the file holds no object.
    """
    if path is None:
        own = None if scan is None else scan.object_
        if scan is None or own is None or scan.object_origin_px is None:
            return None
        y, x = scan.object_origin_px
        return "truth", Placed(own, (float(y), float(x)))
    if path.suffix == ".npz":
        low = np.floor(positions_px.min(axis=0))
        return "reference", Placed(_npz_object(path), (float(low[0]), float(low[1])))
    product = read_product(path)
    return "reference", Placed(product.object_, product.geometry.object_origin_px)


def _npz_object(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.complexfloating]]:
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
