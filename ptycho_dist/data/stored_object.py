"""An object that a file holds, and where it lies in the frame of a scan's positions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ptycho_dist.data.formats.base import ComplexArray
from ptycho_dist.data.formats.object_npz import read_npz_object
from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.types import FloatArray


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
    if path.suffix == ".npz":
        return read_npz_object(path), np.floor(positions_px.min(axis=0))
    product = read_product(path)
    return product.object_, np.asarray(product.geometry.object_origin_px)
