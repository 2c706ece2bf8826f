"""What of a large object is compared and drawn pixel by pixel, so that memory does not grow with the object."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.product_h5 import COVERAGE, DISAGREEMENT, UNCERTAINTY, Product
from ptycho_dist.types import Canvas

LARGEST_PX = 2560**2
"""Pixels of an object up to which all of it is compared and drawn."""
_SIDE_PX = 2048
_MAPS = (COVERAGE, DISAGREEMENT, UNCERTAINTY)
_STRIP_PX = 1024


def window_of(product: Product) -> Canvas | None:
    """Rectangle of pixels of a large object around the middle of its scan; None where all of it is compared."""
    shape = product.object_.shape
    if math.prod(shape) <= LARGEST_PX:
        return None
    corners = product.positions_px - np.asarray(product.geometry.object_origin_px)
    middle = np.median(corners, axis=0) + product.geometry.N / 2
    sides = np.minimum(shape, _SIDE_PX)
    y, x = np.clip(np.rint(middle - sides / 2), 0, np.subtract(shape, sides))
    return Canvas((float(y), float(x)), (int(sides[0]), int(sides[1])))


def within(product: Product, window: Canvas) -> Product:
    """Cut a product to a rectangle of its pixels; its patterns stay all of them."""
    y, x = np.add(product.geometry.object_origin_px, window.corner)
    maps = {name: np.array(product.extras[name][window.slices]) for name in _MAPS if name in product.extras}
    return replace(
        product,
        object_=np.array(product.object_[window.slices]),
        geometry=replace(product.geometry, object_origin_px=(float(y), float(x))),
        extras=product.extras | maps,
    )


def cut_around(
    image: NDArray[np.complexfloating], corner: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[slice, slice]:
    """Index of what an image shows of a frame whose pixel (0, 0) lies at ``corner`` of it; empty where nothing."""
    low = np.clip(np.floor(corner), 0, image.shape).astype(int)
    high = np.clip(np.floor(corner) + shape, low, image.shape).astype(int)
    return slice(low[0], high[0]), slice(low[1], high[1])


def shrunk(image: NDArray[np.complexfloating], largest_px: int = LARGEST_PX) -> tuple[NDArray[np.complex64], int]:
    """Mean of an image over squares of as few pixels as bring it below a number of pixels, and their side."""
    step = math.ceil(math.sqrt(math.prod(image.shape) / largest_px))
    return block_means(image, step), step


def block_means(image: NDArray[np.inexact], step: int) -> NDArray[np.complex64]:
    """Mean of an image (H, W), which may be mapped, over squares of some pixels a side; incomplete ones are left out.

    Parameters
    ----------
    image
        Real or complex, shape (H, W).
    step
        Side of a square in pixels.

    Returns
    -------
    ndarray, complex64, shape (H // step, W // step)
    """
    rows, columns = (side // step for side in image.shape)
    small = np.empty((rows, columns), np.complex64)
    high = max(1, _STRIP_PX // step)
    for top in range(0, rows, high):
        strip = image[top * step : min(rows, top + high) * step, : columns * step]
        small[top : top + high] = strip.reshape(-1, step, columns, step).mean(axis=(1, 3))
    return small
