"""Where the truth or a reference comes from, and where it lies: by coordinates, or by correlation over all of it."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from ptycho_dist.data.formats.product_h5 import Product
from ptycho_dist.data.formats.results.reading import kind_of_result, read_result
from ptycho_dist.data.scan import Scan
from ptycho_dist.data.stored_object import read_stored_object
from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate.metrics import Placed
from ptycho_dist.evaluate.window import LARGEST_PX, cut_around

ComplexArray = NDArray[np.complex128]

_LARGEST_PX = 1024
"""Longer sides are binned for the search."""
_LEAST_OVERLAP = 0.5
"""Share of the scanned area that the reference must cover."""
_LEAST_SIGNIFICANCE = 9.0
"""Standard deviations by which the best place must stand out; the best of a million chance ones reaches about 6."""
_LEAST_CORRELATION = 0.65
"""Enough where a small reference offers too few chance places to stand out from; other samples reach about 0.45."""
_SAME_PIXEL = 0.02
"""Largest relative difference of two pixel sizes that are taken as equal."""
_BESIDE_PX, _NEAR_PX = 8, 16
_PREFERENCE = 0.8
"""Share of the best correlation at which the expected place is kept."""
logger = logging.getLogger(__name__)
_ALIKE_PX = 32
"""Extents that differ by less are taken to lie on each other."""


@dataclass(frozen=True)
class Placement:
    """Best place of an object in a reference.

    Parameters
    ----------
    corner_px
        Pixel (row, column) of the reference on which the object's pixel (0, 0) lies; may be negative.
    correlation
        Normalised correlation there, 0 to 1.
    significance
        Distance of the best correlation from the mean over all places, in standard deviations.
    """

    corner_px: tuple[int, int]
    correlation: float
    significance: float

    @property
    def stands_out(self) -> bool:
        """Whether this is more than the best of many chance places."""
        return self.significance >= _LEAST_SIGNIFICANCE or self.correlation >= _LEAST_CORRELATION


def place_in(
    object_: NDArray[np.complexfloating],
    area: NDArray[np.bool_],
    reference: NDArray[np.complexfloating],
    expected_px: tuple[float, float],
) -> Placement:
    """Find an object in a reference, whatever their global phases and linear phase ramps.

    Compares the products of neighbouring pixels, in which a ramp is a constant phase, by normalised correlation of
    masked images (Padfield, IEEE Trans. Image Process. 21, 2706 (2012), DOI 10.1109/TIP.2011.2181402).

    Parameters
    ----------
    object_
        Complex, shape (H, W).
    area
        bool, shape (H, W): pixels that count.
    reference
        Complex, of any shape.
    expected_px
        Pixel (row, column) of the reference on which the object's pixel (0, 0) is expected; a place near it is
        preferred to one that correlates only a little better.
    """
    step = max(1, -(-max(*object_.shape, *reference.shape) // _LARGEST_PX))
    small, where, whole = _binned(object_, step), _binned(area.astype(float), step).real == 1, _binned(reference, step)
    score = np.mean(
        [_correlation(_neighbours(small, axis), where, _neighbours(whole, axis)) for axis in (0, 1)], axis=0
    )
    sides = np.array(where.shape) - 1
    significance = _significance(score)
    expected = np.rint(np.asarray(expected_px) / step).astype(int) + sides
    row, column = (int(at) for at in np.unravel_index(int(score.argmax()), score.shape))
    near = _around(expected, score.shape, _NEAR_PX // step)
    if near is not None and score[near].max() >= _PREFERENCE * score[row, column]:
        inner = np.unravel_index(int(score[near].argmax()), score[near].shape)
        row, column = (int(start.start + at) for start, at in zip(near, inner, strict=True))
    return Placement(
        corner_px=(step * (row - int(sides[0])), step * (column - int(sides[1]))),
        correlation=float(score[row, column]),
        significance=significance,
    )


def require_found(place: Placement, object_px: tuple[int, ...], reference_px: tuple[int, ...]) -> None:
    """Refuse a reference in which no place stands out from chance.

    Raises
    ------
    ConfigError
        With the correlation of the best place.
    """
    if not place.stands_out:
        msg = (
            f"the object {object_px} is nowhere in the reference {reference_px}: the best place correlates by "
            f"{place.correlation:.2f}, {place.significance:.1f} standard deviations above chance; expected at least "
            f"{_LEAST_CORRELATION:g} or {_LEAST_SIGNIFICANCE:g}. Give a reference of this sample, with pixels of the "
            "same size and orientation."
        )
        raise ConfigError(msg)


def _around(at: NDArray[np.int64], shape: tuple[int, ...], reach: int) -> tuple[slice, slice] | None:
    """Index of the pixels of an array near one of them; None where none are."""
    low, high = np.maximum(at - reach, 0), np.minimum(at + reach + 1, shape)
    return None if (low >= high).any() else (slice(low[0], high[0]), slice(low[1], high[1]))


def _binned(image: NDArray[np.inexact], step: int) -> ComplexArray:
    """Mean over blocks of ``step`` squared pixels; an incomplete edge is left out."""
    rows, columns = (side // step for side in image.shape)
    blocks = image[: rows * step, : columns * step].reshape(rows, step, columns, step)
    return np.asarray(blocks.mean(axis=(1, 3)), np.complex128)


def _neighbours(image: ComplexArray, axis: int) -> ComplexArray:
    """Product of each pixel with the conjugate of the one before it along an axis."""
    return image * np.roll(image, 1, axis).conj()


def _correlation(template: ComplexArray, mask: NDArray[np.bool_], image: ComplexArray) -> NDArray[np.float64]:
    """Magnitude of the normalised correlation at all places where enough of the mask lies on the image; 0 elsewhere."""
    inside = mask.astype(np.complex128)
    flipped, flipped_mask = (template * inside)[::-1, ::-1], inside[::-1, ::-1]
    ones = np.ones(image.shape, np.complex128)
    count = fftconvolve(ones, flipped_mask).real
    enough = count >= max(1.0, _LEAST_OVERLAP * mask.sum())
    count = np.where(enough, count, 1.0)
    of_template, of_image = fftconvolve(ones, flipped), fftconvolve(image, flipped_mask)
    cross = fftconvolve(image, flipped.conj()) - of_template.conj() * of_image / count
    power = fftconvolve(ones, np.abs(flipped) ** 2).real - np.abs(of_template) ** 2 / count
    other = fftconvolve(np.abs(image) ** 2, flipped_mask).real - np.abs(of_image) ** 2 / count
    least = 1e-9 * max(float(power.max()), 1e-30), 1e-9 * max(float(other.max()), 1e-30)
    known = enough & (power > least[0]) & (other > least[1])
    norm = np.sqrt(np.where(known, power * other, 1.0))
    return np.asarray(np.where(known, np.abs(cross) / norm, 0.0), np.float64)


def _significance(score: NDArray[np.float64]) -> float:
    """Distance of the peak from the scores away from it, in their standard deviations; 0 where there are none."""
    peak = np.unravel_index(int(score.argmax()), score.shape)
    away = score > 0
    away[tuple(slice(max(0, int(at) - _BESIDE_PX), int(at) + _BESIDE_PX + 1) for at in peak)] = False
    others = score[away]
    spread = float(others.std()) if others.size else 0.0
    return (float(score[peak]) - float(others.mean())) / spread if spread > 0 else 0.0


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
        If a reference has pixels of another size or NaN, or without coordinates does not show the product's object.
    DataFormatError
        If the file holds no object.
    """
    if path is not None:
        expected = _read_reference(path, product)
        try:
            return "reference", _placed(product, area, expected, is_sure=path.suffix != ".npz")
        except ConfigError as error:
            msg = f"{path}: {error}"
            raise ConfigError(msg) from error
    own = None if scan is None else scan.object_
    if scan is None or own is None:
        return None
    y, x = product.positions_px.min(axis=0) if scan.object_origin_px is None else scan.object_origin_px
    return "truth", _placed(product, area, Placed(own, (float(y), float(x))), is_sure=scan.object_origin_px is not None)


def _read_reference(path: Path, product: Product) -> Placed:
    """Read a reference from a file; one without coordinates is expected to begin at the smallest position."""
    if path.suffix == ".npz" and kind_of_result(path) is None:
        object_, (y, x) = read_stored_object(path, product.positions_px)
    else:
        stored = read_result(path)
        object_, (y, x) = stored.object_, stored.geometry.object_origin_px
        _require_same_pixel(path, stored.geometry.pixel_size_m, product.geometry.pixel_size_m)
    wrong = int((~np.isfinite(object_)).sum())
    if wrong:
        msg = f"{path} holds {wrong} NaN or infinite pixels; expected finite ones. Replace them, or cut them off."
        raise ConfigError(msg)
    return Placed(object_, (float(y), float(x)))


def _require_same_pixel(path: Path, theirs_m: float, own_m: float) -> None:
    if abs(theirs_m - own_m) > _SAME_PIXEL * own_m:  # False where one is unknown
        msg = f"{path} has pixels of {theirs_m:g} m; expected {own_m:g} m as in the product. Resample the reference."
        raise ConfigError(msg)


def _placed(product: Product, area: NDArray[np.bool_], expected: Placed, *, is_sure: bool) -> Placed:
    """Put a reference of another extent where it shows the object; ``is_sure`` says that coordinates gave its place."""
    if is_sure and math.prod(expected.object_.shape) > LARGEST_PX:
        return _cut_to(product, expected)
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


def _cut_to(product: Product, reference: Placed) -> Placed:
    """Cut out of a large reference what shows the object."""
    corner = np.subtract(product.geometry.object_origin_px, reference.origin_px)
    part = cut_around(reference.object_, corner, product.object_.shape)
    shown = np.array(reference.object_[part])
    if not shown.size:
        msg = (
            f"the object {product.object_.shape} at {product.geometry.object_origin_px} lies outside the reference "
            f"{reference.object_.shape} at {reference.origin_px}. Give a reference that shows it."
        )
        raise ConfigError(msg)
    y, x = np.add(reference.origin_px, [one.start for one in part])
    return Placed(shown, (float(y), float(x)))
