"""Scan points."""

from __future__ import annotations

import numpy as np

from ptycho_dist.types import FloatArray

_GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))


def fermat_spiral(n_points: int, step_px: float, jitter_px: float, rng: np.random.Generator) -> FloatArray:
    """Return the points (y, x) of a Fermat spiral cut to a square, with jitter.

    Parameters
    ----------
    n_points
        Number of points B.
    step_px
        Square root of the area per point, in pixels.
    jitter_px
        Standard deviation of the random offset, in pixels.
    rng
        Source of the jitter.

    Returns
    -------
    ndarray, float64, shape (B, 2)
        Points around (0, 0), from the middle outwards.

    References
    ----------
    .. [1] Huang et al., Optimization of overlap uniformness for ptychography (2014), DOI 10.1364/OE.22.012634.
    """
    k = np.arange(2 * n_points + 8)  # a disc around a square holds pi / 2 times its points
    radius = step_px / np.sqrt(np.pi) * np.sqrt(k)
    angle = k * _GOLDEN_ANGLE
    points = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    chosen = np.sort(np.argsort(np.abs(points).max(axis=1), kind="stable")[:n_points])
    return np.asarray(points[chosen] + jitter_px * rng.standard_normal((n_points, 2)))
