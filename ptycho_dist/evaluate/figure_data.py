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
_CHROMA = 0.13
_FULL_TURN_SHARE = 0.8
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


def phase_colours(phase: FloatArray, shown: tuple[float, float]) -> tuple[FloatArray, str, tuple[float, float]]:
    """Values, colour map and limits of a phase: cyclic over a full turn where it needs one, else even ones."""
    if shown[1] - shown[0] > _FULL_TURN_SHARE * 2 * math.pi:
        return np.asarray(np.angle(np.exp(1j * phase))), "twilight", (-math.pi, math.pi)
    return phase, "viridis", shown


def error_colours(error: FloatArray, area: NDArray[np.bool_]) -> tuple[FloatArray, str, tuple[float, float]]:
    """Values inside an area, colour map and limits of a difference: diverging, white at zero."""
    top = max(abs(value) for value in limits(error, area))
    return np.where(area, error, np.nan), "RdBu_r", (-top, top)


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


def wave_picture(wave: NDArray[np.complexfloating], largest: float | None = None) -> NDArray[np.uint8]:
    """Show a complex wave (H, W) in one picture: hue is phase, brightness is amplitude.

    Colours are of equal lightness and chroma at equal amplitude in the space OKLab, so that no phase looks brighter
    than another.

    Parameters
    ----------
    wave
        Complex, shape (H, W).
    largest
        Amplitude of full brightness; the largest one where not given.

    Returns
    -------
    ndarray, uint8, shape (H, W, 3)

    References
    ----------
    .. [1] Ottosson, A perceptual color space for image processing (2020), https://bottosson.github.io/posts/oklab/.
    """
    amplitude = np.abs(wave).astype(np.float64)
    share = np.clip(amplitude / (largest or float(amplitude.max()) or 1.0), 0.0, 1.0)
    hue = np.angle(wave)
    lab = np.stack([0.75 * share, _CHROMA * share * np.cos(hue), _CHROMA * share * np.sin(hue)], axis=-1)
    to_roots = np.array(
        [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip((lab @ to_roots.T) ** 3 @ to_linear.T, 0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * encoded), np.uint8)


def wave_wheel(side_px: int = 96) -> NDArray[np.uint8]:
    """Legend of :func:`wave_picture`, uint8 (side, side, 4): phase around, 0 at the right; amplitude outwards."""
    axis = np.linspace(-1, 1, side_px)
    wave = axis - 1j * axis[:, None]
    inside = np.abs(wave) <= 1
    wheel = wave_picture(np.where(inside, wave, 0), 1.0)
    return np.dstack([wheel, np.where(inside, 255, 0).astype(np.uint8)])


def length_text(length_m: float) -> str:
    """Say a length with a unit that suits it, to three digits."""
    unit, name = next(((u, n) for u, n in _PREFIXES if abs(length_m) >= u * (1 - 1e-9)), _PREFIXES[-1])
    return f"{length_m / unit:.3g} {name}"


def _negative(slope: tuple[float, float]) -> tuple[float, float]:
    return -slope[0], -slope[1]
