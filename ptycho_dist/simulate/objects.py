"""Objects made of two pictures: one is the amplitude, one the phase."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import color, data, transform

from ptycho_dist.types import FloatArray


@dataclass(frozen=True, kw_only=True)
class PictureObject:
    """Pictures (names in ``skimage.data``) and ranges of an object.

    Parameters
    ----------
    amplitude, phase
        Picture names; only such as scikit-image ships without a download.
    amplitude_min
        Lowest amplitude; the highest is 1.
    phase_range_rad
        The phase runs from 0 to this.
    seed
        Seed of a random part, rotation and contrast of each picture; None for the middle, upright.
    """

    amplitude: str
    phase: str
    amplitude_min: float
    phase_range_rad: float
    seed: int | None = None

    def make(self, shape: tuple[int, int]) -> NDArray[np.complex64]:
        """Return the transmission, complex64, of shape (H, W)."""
        rng = None if self.seed is None else np.random.default_rng(self.seed)
        return self._transmission(picture(self.amplitude, shape, rng), picture(self.phase, shape, rng))

    def in_rows(self, shape: tuple[int, int]) -> Callable[[int, int], NDArray[np.complex64]]:
        """Return what makes rows of an object of (H, W) pixels, from one to before another, complex64 (n, W).

        For objects larger than the pictures, which are stretched linearly from 0 to 1 by their own extremes; that is
        not quite how :meth:`make` does it.
        """
        rng = None if self.seed is None else np.random.default_rng(self.seed)
        parts = [_levelled(picture_part(name, shape, rng)) for name in (self.amplitude, self.phase)]
        return lambda first, last: self._transmission(*(_stretched(part, shape, first, last) for part in parts))

    def _transmission(self, amplitude: FloatArray, phase: FloatArray) -> NDArray[np.complex64]:
        """Put pictures, grey from 0 to 1, together."""
        values = (self.amplitude_min + (1 - self.amplitude_min) * amplitude) * np.exp(1j * self.phase_range_rad * phase)
        return np.asarray(values, dtype=np.complex64)


def picture(name: str, shape: tuple[int, int], rng: np.random.Generator | None = None) -> FloatArray:
    """Return a part of a scikit-image picture, resized to (H, W), grey, from 0 to 1.

    Parameters
    ----------
    name
        Its name in ``skimage.data``.
    shape
        Rows and columns (H, W).
    rng
        Source of a random part, rotation and contrast; where None, it is the middle, upright.
    """
    resize: Any = transform.resize
    return _levelled(resize(picture_part(name, shape, rng), shape, anti_aliasing=True))


def picture_part(name: str, shape: tuple[int, int], rng: np.random.Generator | None = None) -> FloatArray:
    """Return a part of a scikit-image picture that has the proportions of (H, W); see :func:`picture`."""
    load: Any = getattr(data, name)
    image = load()
    grey = color.rgb2gray(image) if image.ndim == 3 else image.astype(np.float64)
    return _part(grey if rng is None else _turned(grey, rng), shape, rng)


def _levelled(grey: FloatArray) -> FloatArray:
    """Stretch grey from 0 to 1; 0 where all is alike."""
    extent = np.ptp(grey)
    return np.zeros_like(grey) if extent == 0 else np.asarray((grey - grey.min()) / extent, dtype=np.float64)


def _stretched(part: FloatArray, shape: tuple[int, int], first: int, last: int) -> FloatArray:
    """Interpolate rows of a picture that is enlarged to (H, W)."""
    zoom = np.divide(part.shape, shape)
    offset = zoom * (np.array([first, 0]) + 0.5) - 0.5
    size = (last - first, shape[1])
    return np.asarray(ndimage.affine_transform(part, zoom, offset, size, order=1, mode="nearest"), dtype=np.float64)


def _turned(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Turn a picture by any angle, what is beyond its edge mirrored; half of them become their negative."""
    rotate: Any = transform.rotate
    turned = rotate(grey, rng.uniform(0, 360), mode="reflect")
    return np.asarray(-turned if rng.random() < _NEGATIVES else turned, dtype=np.float64)


def _part(grey: FloatArray, shape: tuple[int, int], rng: np.random.Generator | None) -> FloatArray:
    """Cut the middle, or a random part, of the proportions of ``shape``."""
    rows, columns = grey.shape
    share, place = (1.0, np.array([0.5, 0.5])) if rng is None else (rng.uniform(_SMALLEST_PART, 1), rng.random(2))
    scale = share * min(rows / shape[0], columns / shape[1])
    height, width = (max(1, int(scale * n)) for n in shape)
    top, left = int(place[0] * (rows - height)), int(place[1] * (columns - width))
    return np.asarray(grey[top : top + height, left : left + width])


_SMALLEST_PART, _NEGATIVES = 0.35, 0.5
