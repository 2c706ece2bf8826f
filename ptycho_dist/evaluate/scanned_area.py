"""The scanned area: where the probe has put enough light to judge the object."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

from ptycho_dist.types import FloatArray

_SHARE = 0.3
_SMOOTH_PX = 4.0


def illumination(
    positions_px: FloatArray, probe: NDArray[np.complexfloating], shape: tuple[int, int], origin_px: FloatArray
) -> FloatArray:
    """Sum the probe's intensity over all scan points, rounded to whole pixels.

    Parameters
    ----------
    positions_px
        Patch corners (B, 2), (y, x), in object pixels.
    probe
        Modes (P, N, N).
    shape, origin_px
        Object (H, W), and the position of its pixel (0, 0).

    Returns
    -------
    ndarray, float64, shape (H, W)
        Intensity in the unit of the probe squared; light outside the object is left out.
    """
    N = probe.shape[-1]
    corner = np.rint(positions_px - np.asarray(origin_px)).astype(np.int64) + N  # the frame has a margin of N
    frame = (shape[0] + 2 * N, shape[1] + 2 * N)
    seen = ((corner >= 0) & (corner < frame)).all(axis=1)
    visits = np.zeros(frame)
    np.add.at(visits, tuple(corner[seen].T), 1.0)
    spread = fftconvolve(visits, (np.abs(probe) ** 2).sum(axis=0), mode="full")
    return np.asarray(np.maximum(spread[N : N + shape[0], N : N + shape[1]], 0.0), dtype=np.float64)


def scanned_area(light: FloatArray) -> NDArray[np.bool_]:
    """Tell where an illumination (H, W), smoothed over 4 pixels, is at least 0.3 of its maximum."""
    smooth = gaussian_filter(light, _SMOOTH_PX)
    return np.asarray((smooth >= _SHARE * smooth.max()) & (smooth > 0))
