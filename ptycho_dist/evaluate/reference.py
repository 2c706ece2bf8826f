"""Where the truth or a reference object comes from."""

from __future__ import annotations

from pathlib import Path

from ptycho_dist.data.scan import Scan
from ptycho_dist.data.stored_object import read_stored_object
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
    object_, (y, x) = read_stored_object(path, positions_px)
    return "reference", Placed(object_, (float(y), float(x)))
