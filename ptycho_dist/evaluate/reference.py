"""Where the truth or a reference object comes from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ptycho_dist.data.formats.object_npz import read_npz_object
from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.scan import Scan
from ptycho_dist.evaluate.metrics import Placed
from ptycho_dist.types import FloatArray


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
        return "reference", Placed(read_npz_object(path), (float(low[0]), float(low[1])))
    product = read_product(path)
    return "reference", Placed(product.object_, product.geometry.object_origin_px)
