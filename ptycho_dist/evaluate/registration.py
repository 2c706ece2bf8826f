"""Bring a reconstructed object onto a reference: shift, phase ramp, phase, scale.

Ptychography leaves a global phase and a linear phase ramp open, and, when the
probe is found too, a shift of the object. They are removed here, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.optimize import minimize
from skimage.registration import phase_cross_correlation

from ptycho_dist.errors import ConfigError
from ptycho_dist.types import FloatArray

ComplexArray = NDArray[np.complex128]
_UPSAMPLE = 100
_ROUNDS = 8
_SHIFT_TOLERANCE_PX = 0.005
_MARGIN_PX = 32
_RAMP_PADDING = 4
_PEAKS = 9
_FLAT = 1e-6


@dataclass(frozen=True)
class Registered:
    """A registered object and what was removed from it.

    Parameters
    ----------
    object_
        complex128, shape (H, W): comparable with the reference pixel by pixel.
    shift_px
        (y, x) by which the object was moved beyond the known shift.
    ramp_rad_per_px
        (y, x) slope of the phase that was removed.
    scale
        Complex factor that was applied last: global phase and amplitude.
    """

    object_: ComplexArray
    shift_px: tuple[float, float]
    ramp_rad_per_px: tuple[float, float]
    scale: complex


def fourier_shift(image: ComplexArray, shift_px: tuple[float, float]) -> ComplexArray:
    """Move an image (H, W) by a sub-pixel shift (y, x), periodically."""
    rows, columns = (np.fft.fftfreq(n) for n in image.shape)
    phase = rows[:, None] * shift_px[0] + columns * shift_px[1]
    return np.asarray(np.fft.ifft2(np.fft.fft2(image) * np.exp(-2j * np.pi * phase)))


def ramp(shape: tuple[int, ...], slope: tuple[float, float]) -> ComplexArray:
    """Return exp(i (b y + c x)) of shape (H, W), zero phase at the centre; slopes in rad per pixel."""
    y, x = (np.arange(n) - (n - 1) / 2 for n in shape)
    return np.asarray(np.exp(1j * (slope[0] * y[:, None] + slope[1] * x)))


def find_ramp(object_: ComplexArray, reference: ComplexArray) -> tuple[float, float]:
    """Find the phase slope of an object against a reference, both (H, W).

    Maximises ``|sum conj(reference) object exp(-i (b y + c x))|``: the peak of a
    zero-padded Fourier transform, then refined.

    Returns
    -------
    tuple of float
        Slopes (b, c) in rad per pixel.
    """
    product = np.conj(reference) * object_
    start = _highest_peak(product)
    y, x = (np.arange(n) - (n - 1) / 2 for n in product.shape)
    total = float(np.abs(product).sum()) or 1.0
    steps = np.array([1.0 / n for n in product.shape])

    def loss(units: FloatArray) -> float:
        b, c = np.asarray(start) + units * steps
        return -float(np.abs(np.exp(-1j * b * y) @ product @ np.exp(-1j * c * x))) / total

    found = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-14})
    b, c = np.asarray(start) + found.x * steps
    return float(b), float(c)


def _highest_peak(product: ComplexArray) -> tuple[float, float]:
    """Slopes (b, c) of the highest value of the transform (H, W), four times as finely as its own grid.

    Between grid points it is calculated around the highest ones only, for the whole fine transform takes 16 times the
    memory of the image.
    """
    spectrum = np.abs(scipy.fft.fft2(product))
    peaks = np.argpartition(spectrum, -_PEAKS, axis=None)[-_PEAKS:] if spectrum.size > _PEAKS else range(spectrum.size)
    grid = [2 * np.pi * np.fft.fftfreq(n) for n in product.shape]
    steps = [np.arange(1 - _RAMP_PADDING, _RAMP_PADDING) * 2 * np.pi / (_RAMP_PADDING * n) for n in product.shape]
    best, place = -1.0, (0.0, 0.0)
    for peak in peaks:
        b, c = (
            axis[k] + step for axis, k, step in zip(grid, np.unravel_index(peak, product.shape), steps, strict=True)
        )
        y, x = (np.arange(n) for n in product.shape)
        fine = np.abs(np.exp(-1j * np.outer(b, y)) @ product @ np.exp(-1j * np.outer(x, c)))
        row, column = np.unravel_index(int(fine.argmax()), fine.shape)
        if fine[row, column] > best:
            best, place = float(fine[row, column]), (float(b[row]), float(c[column]))
    return place


def register(
    object_: ComplexArray,
    reference: ComplexArray,
    weight: FloatArray,
    *,
    start_px: tuple[float, float] = (0.0, 0.0),
    find_shift: bool = True,
) -> Registered:
    """Remove shift, phase ramp, global phase and scale of an object against a reference.

    Parameters
    ----------
    object_, reference
        Complex, shape (H, W), on one pixel grid up to a shift.
    weight
        float, shape (H, W): 0 outside the area that counts.
    start_px
        Shift (y, x) that is known already.
    find_shift
        False where the positions fix the shift.

    Raises
    ------
    ConfigError
        If the shapes differ or the weight is zero everywhere.

    References
    ----------
    .. [1] Guizar-Sicairos, Thurman, Fienup, Efficient subpixel image registration
       algorithms (2008), DOI 10.1364/OL.33.000156.
    """
    if object_.shape != reference.shape or weight.shape != reference.shape or not weight.any():
        msg = (
            f"object {object_.shape}, reference {reference.shape}, weight {weight.shape} (sum {weight.sum():g}); "
            "expected equal shapes and an area that counts. Give windows of equal size."
        )
        raise ConfigError(msg)
    given = np.asarray(object_, dtype=np.complex128)
    shift, slope = np.array(start_px), np.zeros(2)
    current = _apply(given, shift, slope)
    for _ in range(_ROUNDS):
        change = np.array(find_ramp(current * weight, reference * weight))
        slope += change
        current = _apply(given, shift, slope)
        if not find_shift:
            break
        contrasts = _contrast(current, weight), _contrast(reference, weight)
        if not all(np.abs(one).max() > _FLAT * np.abs(reference).max() for one in contrasts):
            break  # a flat image shows no shift
        moved = _shift_between(*contrasts)
        shift += moved
        current = _apply(given, shift, slope)
        if np.abs(moved).max() < _SHIFT_TOLERANCE_PX:
            break
    scale = complex(np.vdot(current * weight, reference) / np.vdot(current * weight, current))
    return Registered(current * scale, _pair(shift - start_px), _pair(slope), scale)


def _apply(object_: ComplexArray, shift: FloatArray, slope: FloatArray) -> ComplexArray:
    flat = object_ * ramp(object_.shape, _pair(-slope))
    if not shift.any():
        return flat
    margin = [(min(_MARGIN_PX, n // 2),) * 2 for n in flat.shape]
    padded = np.pad(flat, margin, mode="linear_ramp", end_values=complex(flat.mean()))  # continuous when repeated
    (top, _), (left, _) = margin
    return fourier_shift(padded, _pair(shift))[top : top + flat.shape[0], left : left + flat.shape[1]]


def _contrast(image: ComplexArray, weight: FloatArray) -> ComplexArray:
    return (image - np.average(image, weights=weight)) * weight


def _shift_between(moving: ComplexArray, reference: ComplexArray) -> FloatArray:
    correlate: Any = phase_cross_correlation  # scikit-image has no annotations
    found, _, _ = correlate(reference, moving, upsample_factor=_UPSAMPLE, normalization=None)
    return np.asarray(found, dtype=np.float64)


def _pair(values: FloatArray) -> tuple[float, float]:
    return float(values[0]), float(values[1])
