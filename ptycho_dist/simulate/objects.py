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
    """

    amplitude: str
    phase: str
    amplitude_min: float
    phase_range_rad: float

    def make(self, shape: tuple[int, int]) -> NDArray[np.complex64]:
        """Return the transmission, complex64, of shape (H, W)."""
        amplitude = self.amplitude_min + (1 - self.amplitude_min) * picture(self.amplitude, shape)
        phase = self.phase_range_rad * picture(self.phase, shape)
        return np.asarray(amplitude * np.exp(1j * phase), dtype=np.complex64)


def picture(name: str, shape: tuple[int, int]) -> FloatArray:
    """Return the middle of a scikit-image picture, resized to (H, W), grey, from 0 to 1."""
    load: Any = getattr(data, name)
    image = load()
    grey = color.rgb2gray(image) if image.ndim == 3 else image.astype(np.float64)
    rows, columns = grey.shape
    scale = min(rows / shape[0], columns / shape[1])
    height, width = (max(1, int(scale * n)) for n in shape)
    top, left = (rows - height) // 2, (columns - width) // 2
    resize: Any = transform.resize
    small = resize(grey[top : top + height, left : left + width], shape, anti_aliasing=True)
    return np.asarray((small - small.min()) / np.ptp(small), dtype=np.float64)
