"""Where the truth or a reference object comes from, and where it lies."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.product_h5 import Product
from ptycho_dist.data.scan import Scan
from ptycho_dist.data.stored_object import read_stored_object
from ptycho_dist.evaluate.metrics import Placed
from ptycho_dist.evaluate.placement import place_in, require_found

logger = logging.getLogger(__name__)

_ALIKE_PX = 32
"""Extents that differ by less are taken to lie on each other."""


def find_reference(
    path: Path | None, scan: Scan | None, product: Product, area: NDArray[np.bool_]
) -> tuple[str, Placed] | None:
    """Object to compare with, and what to call it: a file's if given, else the scan's own.

    A reference of another extent than the product is looked for by correlation over all of it.

    Parameters
    ----------
    path
        Product, or NPZ with a complex ``object`` (H, W).
    scan
        Scan whose own object serves as the truth.
    product
        What is compared.
    area
        bool, shape of the product's object: its scanned area.

    Raises
    ------
    ConfigError
        If a reference without coordinates does not show the product's object.
    DataFormatError
        If the file holds no object.
    """
    if path is not None:
        object_, (y, x) = read_stored_object(path, product.positions_px)
        return "reference", _placed(product, area, Placed(object_, (float(y), float(x))), is_sure=path.suffix != ".npz")
    own = None if scan is None else scan.object_
    if scan is None or own is None:
        return None
    y, x = product.positions_px.min(axis=0) if scan.object_origin_px is None else scan.object_origin_px
    return "truth", _placed(product, area, Placed(own, (float(y), float(x))), is_sure=scan.object_origin_px is not None)


def _placed(product: Product, area: NDArray[np.bool_], expected: Placed, *, is_sure: bool) -> Placed:
    """Put a reference of another extent where it shows the object; ``is_sure`` says that coordinates told its place."""
    sides = np.subtract(expected.object_.shape, product.object_.shape)
    if np.abs(sides).max() < _ALIKE_PX or not area.any():
        return expected
    origin = np.asarray(product.geometry.object_origin_px)
    at_y, at_x = origin - np.asarray(expected.origin_px)
    place = place_in(product.object_, area, expected.object_, (float(at_y), float(at_x)))
    if not is_sure:
        require_found(place, product.object_.shape, expected.object_.shape)
    if not place.stands_out or np.abs(np.subtract(place.corner_px, (at_y, at_x))).max() < 1:
        return expected
    logger.info("object found at pixel %s of the reference (correlation %.2f)", place.corner_px, place.correlation)
    y, x = origin - place.corner_px
    return Placed(expected.object_, (float(y), float(x)))
