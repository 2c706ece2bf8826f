"""Fourier ring correlation of two images, and the resolution it gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.errors import ConfigError
from ptycho_dist.types import FloatArray

LEAST_SIDE_PX = 16
"""Least side of an image whose rings say something."""
_EDGE_SHARE = 0.25
_ONE_SEVENTH = 1.0 / 7.0
_ALWAYS_RESOLVED = 2


@dataclass(frozen=True)
class RingCorrelation:
    """A Fourier ring correlation.

    Parameters
    ----------
    frequency
        float64, shape (n,): cycles per pixel, 0 to 0.5.
    correlation
        float64, shape (n,): real part of the normalised ring correlation, -1 to 1.
    half_bit
        float64, shape (n,): the 1/2-bit threshold for the same rings.
    pixels
        int64, shape (n,): Fourier pixels in each ring.
    """

    frequency: FloatArray
    correlation: FloatArray
    half_bit: FloatArray
    pixels: NDArray[np.int64]

    @property
    def resolution_half_bit_px(self) -> float:
        """Full-period resolution in pixels at the 1/2-bit threshold; NaN where nothing is resolved."""
        return self._resolution(self.half_bit)

    @property
    def resolution_one_seventh_px(self) -> float:
        """Full-period resolution in pixels at the threshold 1/7; NaN where nothing is resolved."""
        return self._resolution(np.full_like(self.correlation, _ONE_SEVENTH))

    def _resolution(self, threshold: FloatArray) -> float:
        frequency = _first_crossing(self.frequency, self.correlation - threshold)
        return 1.0 / frequency if frequency > 0 else float("nan")


def ring_correlation(a: NDArray[np.complex128], b: NDArray[np.complex128]) -> RingCorrelation:
    """Correlate two registered images ring by ring in Fourier space.

    The weighted mean is taken off and the edges are softened by a cosine over a
    quarter of each side, so that the frame itself does not correlate.

    Parameters
    ----------
    a, b
        Complex or real, shape (H, W), registered, phase and ramp removed.

    Raises
    ------
    ConfigError
        If the shapes differ or a side is below 16 pixels.

    References
    ----------
    .. [1] van Heel, Schatz, Fourier shell correlation threshold criteria (2005),
       DOI 10.1016/j.jsb.2005.05.009.
    """
    if a.shape != b.shape or min(a.shape) < LEAST_SIDE_PX:
        msg = (
            f"images {a.shape} and {b.shape}; expected equal shapes of at least {LEAST_SIDE_PX} px a side. "
            "Cut a larger window."
        )
        raise ConfigError(msg)
    window = _soft_window(a.shape)
    spectrum_a, spectrum_b = (np.fft.fft2((x - np.average(x, weights=window)) * window) for x in (a, b))
    ring, n_rings = _rings(a.shape)
    cross, power_a, power_b = (
        np.bincount(ring, values.ravel(), n_rings + 1)[:n_rings]
        for values in ((spectrum_a * spectrum_b.conj()).real, np.abs(spectrum_a) ** 2, np.abs(spectrum_b) ** 2)
    )
    norm = np.sqrt(power_a * power_b)
    correlation: FloatArray = np.divide(cross, norm, out=np.zeros(n_rings), where=norm > 0)
    pixels = np.bincount(ring, minlength=n_rings + 1)[:n_rings]
    frequency: FloatArray = np.arange(n_rings, dtype=np.float64) * (0.5 / (n_rings - 1))
    return RingCorrelation(frequency, correlation, half_bit_threshold(pixels), pixels)


def half_bit_threshold(pixels: NDArray[np.int64]) -> FloatArray:
    """Return the 1/2-bit threshold for rings of ``pixels`` Fourier pixels (van Heel and Schatz 2005)."""
    root = np.sqrt(np.maximum(pixels, 1).astype(np.float64))
    return np.asarray(np.minimum((0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root), 1.0))


def _rings(shape: tuple[int, ...]) -> tuple[NDArray[np.int64], int]:
    n_rings = min(shape) // 2 + 1
    y, x = (np.fft.fftfreq(n) for n in shape)
    radius = np.hypot(y[:, None], x) * 2 * (n_rings - 1)
    return np.minimum(np.rint(radius).astype(np.int64), n_rings).ravel(), n_rings


def _soft_window(shape: tuple[int, ...]) -> FloatArray:
    def side(n: int) -> FloatArray:
        edge = max(2, round(n * _EDGE_SHARE))
        distance = np.minimum(np.arange(n), np.arange(n)[::-1]) + 0.5
        return np.asarray(np.sin(np.pi / 2 * np.minimum(distance / edge, 1.0)) ** 2)

    return side(shape[0])[:, None] * side(shape[1])


def _first_crossing(frequency: FloatArray, excess: FloatArray) -> float:
    """Frequency where ``excess`` first falls below zero, interpolated; the last one if it never does."""
    below = np.flatnonzero(excess[_ALWAYS_RESOLVED:] < 0)
    if not below.size:
        return float(frequency[-1])
    k = int(below[0]) + _ALWAYS_RESOLVED
    if k == _ALWAYS_RESOLVED:
        return 0.0
    share = excess[k - 1] / (excess[k - 1] - excess[k])
    return float(frequency[k - 1] + share * (frequency[k] - frequency[k - 1]))
