"""Objects made of two pictures: one is the amplitude, one the phase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
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
        amplitude = self.amplitude_min + (1 - self.amplitude_min) * picture(self.amplitude, shape, rng)
        phase = self.phase_range_rad * picture(self.phase, shape, rng)
        return np.asarray(amplitude * np.exp(1j * phase), dtype=np.complex64)


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
    load: Any = getattr(data, name)
    image = load()
    grey = color.rgb2gray(image) if image.ndim == 3 else image.astype(np.float64)
    if rng is not None:
        grey = _turned(grey, rng)
    resize: Any = transform.resize
    small = resize(_part(grey, shape, rng), shape, anti_aliasing=True)
    if np.ptp(small) == 0:
        return np.zeros(shape)
    return np.asarray((small - small.min()) / np.ptp(small), dtype=np.float64)


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
