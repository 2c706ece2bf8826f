"""What figures show: flattened phase, contrast limits, length of a scale bar."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.evaluate.metrics import ReferenceMetrics
from ptycho_dist.evaluate.registration import find_ramp, ramp
from ptycho_dist.types import FloatArray

_PERCENTILES = (0.5, 99.5)
_BAR_SHARE = 0.25
_PREFIXES = ((1e-3, "mm"), (1e-6, "\u00b5m"), (1e-9, "nm"), (1e-12, "pm"))


def flattened(object_: NDArray[np.complexfloating], area: NDArray[np.bool_]) -> NDArray[np.complex128]:
    """Remove the global phase and the linear phase ramp of an object (H, W), as far as the area shows them."""
    wave = np.asarray(object_, dtype=np.complex128)
    flat = wave * ramp(wave.shape, _negative(find_ramp(wave * area, np.abs(wave) * area)))
    mean = flat[area].sum()
    return np.asarray(flat * (np.conj(mean) / abs(mean) if mean else 1.0))


def phases(comparison: ReferenceMetrics) -> tuple[FloatArray, FloatArray]:
    """Return the phase of the reference, centred on zero, and that of the object without relative wraps."""
    mean = comparison.reference[comparison.area].sum()
    reference = np.angle(comparison.reference * np.conj(mean))
    difference = np.angle(comparison.registered.object_ * np.conj(comparison.reference))
    return np.asarray(reference), np.asarray(reference + difference)


def limits(image: FloatArray, area: NDArray[np.bool_]) -> tuple[float, float]:
    """Return contrast limits: the percentiles 0.5 and 99.5 of the finite values in the area."""
    values = image[area & np.isfinite(image)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, _PERCENTILES))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def scale_bar(width_px: int, pixel_size_m: float) -> tuple[float, str]:
    """Return the length of a scale bar in pixels and its label; about a quarter of the width, 1, 2 or 5 units."""
    known = math.isfinite(pixel_size_m)
    target = width_px * _BAR_SHARE * (pixel_size_m if known else 1.0)
    power = 10.0 ** math.floor(math.log10(target))
    length = max(factor * power for factor in (1, 2, 5) if factor * power <= target * (1 + 1e-9))
    if not known:
        return length, f"{length:g} px"
    unit, name = next(((u, n) for u, n in _PREFIXES if length >= u * (1 - 1e-9)), _PREFIXES[-1])
    return length / pixel_size_m, f"{round(length / unit, 6):g} {name}"


def length_text(length_m: float) -> str:
    """Say a length with a unit that suits it, to three digits."""
    unit, name = next(((u, n) for u, n in _PREFIXES if abs(length_m) >= u * (1 - 1e-9)), _PREFIXES[-1])
    return f"{length_m / unit:.3g} {name}"


def _negative(slope: tuple[float, float]) -> tuple[float, float]:
    return -slope[0], -slope[1]
