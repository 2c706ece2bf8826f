"""How close a reconstructed object is to a reference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import structural_similarity

from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate.frc import LEAST_SIDE_PX, RingCorrelation, ring_correlation
from ptycho_dist.evaluate.metrics_file import NotMeasured
from ptycho_dist.evaluate.registration import Registered, register
from ptycho_dist.types import Canvas, FloatArray

ComplexArray = NDArray[np.complex128]
_NUMBERS = (
    "psnr_db",
    "psnr_phase_db",
    "ssim_phase",
    "ssim_amplitude",
    "phase_range_rad",
    "amplitude_range",
    "phase_rmse_rad",
)
_FROM_FRC = (
    "frc_resolution_half_bit_px",
    "frc_resolution_one_seventh_px",
    "frc_resolution_half_bit_m",
    "frc_resolution_one_seventh_m",
    "frc_mean",
)
_SHIFTS = ("registration_shift_y_px", "registration_shift_x_px")
METRIC_NAMES = (*_NUMBERS, *_FROM_FRC, *_SHIFTS)
"""Names of all numbers of a comparison."""
_REASONS = {
    "frc_resolution": "no ring of Fourier space correlates",
    "psnr": "the reference is flat in the scanned area",
    "ssim": "the reference is flat in the scanned area, or the area is narrower than 7 pixels",
}
"""Why a number may be missing, by the beginning of its name."""
NO_BOX = f"the scanned area holds no box of {LEAST_SIDE_PX} pixels a side without a hole"
"""Why there may be no ring correlation."""
_SSIM_WINDOW = 7
_SOFT_EDGE_PX = 8.0
_MARGIN_PX = 16


@dataclass(frozen=True)
class ReferenceMetrics:
    """Comparison with a reference over the scanned area.

    Parameters
    ----------
    psnr_db
        Peak signal-to-noise ratio of the complex object, peak = largest reference amplitude.
    psnr_phase_db
        The same of the phase in radians, peak = phase range of the reference.
    ssim_phase, ssim_amplitude
        Structural similarity; ``data_range`` is the range of the reference, as given below.
    phase_range_rad, amplitude_range
        Range of the reference over the scanned area.
    phase_rmse_rad
        Root mean square phase error.
    frc
        Fourier ring correlation over the largest inner box of the area; None where that is below 16 pixels a side.
    registered
        Object brought onto the reference, shape of the window.
    reference
        Reference in the window.
    area
        bool, shape of the window: pixels that counted.
    corner_px
        Pixel (row, column) of the object that was compared on which pixel (0, 0) of the window lies.
    """

    psnr_db: float
    psnr_phase_db: float
    ssim_phase: float
    ssim_amplitude: float
    phase_range_rad: float
    amplitude_range: float
    phase_rmse_rad: float
    frc: RingCorrelation | None
    registered: Registered
    reference: ComplexArray
    area: NDArray[np.bool_]
    corner_px: tuple[int, int]

    def summary(self, pixel_size_m: float = float("nan")) -> dict[str, Any]:
        """Return the numbers by name, and a reason in place of each that cannot be determined."""
        compared = {name: float(getattr(self, name)) for name in _NUMBERS}
        moved = dict(zip(_SHIFTS, self.registered.shift_px, strict=True))
        rings = {} if self.frc is None else _numbers_of(self.frc, pixel_size_m)
        found = {
            name: _number_or_reason(name, value, pixel_size_m) for name, value in (compared | rings | moved).items()
        }
        return {name: found.get(name, NotMeasured(NO_BOX)) for name in METRIC_NAMES}


def _numbers_of(frc: RingCorrelation, pixel_size_m: float) -> dict[str, float]:
    half, seventh = frc.resolution_half_bit_px, frc.resolution_one_seventh_px
    mean = float(frc.correlation[1:].mean())  # ring 0 is the mean, which was taken off
    return dict(zip(_FROM_FRC, (half, seventh, half * pixel_size_m, seventh * pixel_size_m, mean), strict=True))


def _number_or_reason(name: str, value: float, pixel_size_m: float) -> float | NotMeasured:
    if math.isfinite(value):
        return value
    if value == math.inf:
        return NotMeasured("infinite: there is no error")
    if name.endswith("_m") and not math.isfinite(pixel_size_m):
        return NotMeasured("the size of a pixel is unknown")
    reasons = (reason for prefix, reason in _REASONS.items() if name.startswith(prefix))
    return NotMeasured(next(reasons, "the object or the reference holds values that are not finite"))


@dataclass(frozen=True)
class Placed:
    """An object (H, W) and the position (y, x) of its pixel (0, 0)."""

    object_: NDArray[np.complexfloating]
    origin_px: tuple[float, float] = (0.0, 0.0)


def compare_to_reference(
    found: Placed, reference: Placed, area: NDArray[np.bool_], *, find_shift: bool = True
) -> ReferenceMetrics:
    """Compare an object with a reference after removing shift, phase, ramp and scale.

    Parameters
    ----------
    found, reference
        Objects with their origins; they may differ in size.
    area
        bool, shape of ``reference.object_``: the scanned area. Pixels that ``found`` does not cover are left out.
    find_shift
        Also remove a shift that the origins do not tell.

    Raises
    ------
    ConfigError
        If objects and area have no common window of at least 16 pixels a side.

    References
    ----------
    .. [1] Wang, Bovik, Sheikh, Simoncelli, Image quality assessment (2004), DOI 10.1109/TIP.2003.819861.
    """
    window, cut, remainder = _common_window(found, reference, area)
    ref = np.asarray(reference.object_[window.slices], dtype=np.complex128)
    inside = area[window.slices]
    obj = np.asarray(found.object_[cut.slices], dtype=np.complex128)
    registered = register(obj, ref, soft_weight(inside), start_px=remainder, find_shift=find_shift)
    return _measure(registered, ref, inside, cut.corner)


def soft_weight(area: NDArray[np.bool_]) -> FloatArray:
    """Weight that rises from 0 to 1 within 8 pixels of the edge of an area (H, W); 1 where it has no inside."""
    distance = ndimage.distance_transform_edt(np.pad(area, 1))[1:-1, 1:-1]
    return np.asarray(np.clip(distance / _SOFT_EDGE_PX, 0.0, 1.0), dtype=np.float64)


def inner_correlation(a: ComplexArray, b: ComplexArray, area: NDArray[np.bool_]) -> RingCorrelation | None:
    """Correlate two registered images over the largest inner box of an area; None where that is too small for it."""
    box = largest_inner_box(area)
    return ring_correlation(a[box.slices], b[box.slices]) if min(box.shape) >= LEAST_SIDE_PX else None


def largest_inner_box(area: NDArray[np.bool_]) -> Canvas:
    """Return a large box of scanned pixels: the bounding box, cut where a side is least covered.

    Each step drops the side (row or column) of the box that holds the largest share of unscanned pixels.
    """
    rows, columns = Canvas.bounding(area).slices
    top, left, bottom, right = rows.start, columns.start, rows.stop, columns.stop
    table = np.pad(np.cumsum(np.cumsum(~area, axis=0, dtype=np.int64), axis=1), ((1, 0), (1, 0)))

    def holes(t: int, b: int, lo: int, hi: int) -> int:
        return int(table[b, hi] - table[t, hi] - table[b, lo] + table[t, lo])

    while holes(top, bottom, left, right):
        height, width = bottom - top, right - left
        shares = (
            holes(top, top + 1, left, right) / width,
            holes(bottom - 1, bottom, left, right) / width,
            holes(top, bottom, left, left + 1) / height,
            holes(top, bottom, right - 1, right) / height,
        )
        worst = int(np.argmax(shares))
        top, bottom = top + (worst == 0), bottom - (worst == 1)
        left, right = left + (worst == 2), right - (worst == 3)
    return Canvas((top, left), (bottom - top, right - left))


def _measure(
    registered: Registered, reference: ComplexArray, area: NDArray[np.bool_], corner_px: tuple[int, int]
) -> ReferenceMetrics:
    centre = np.conj(reference[area].sum())
    phase_ref = np.angle(reference * centre)
    phase = phase_ref + np.angle(registered.object_ * np.conj(reference))  # a wrap of 2 pi is no error
    phase_range = float(np.ptp(phase_ref[area]))
    amplitude_range = float(np.ptp(np.abs(reference[area])))
    phase_error = _mean_square(phase - phase_ref, area)
    return ReferenceMetrics(
        psnr_db=_decibel(float(np.abs(reference[area]).max()), _mean_square(registered.object_ - reference, area)),
        psnr_phase_db=_decibel(phase_range, phase_error),
        ssim_phase=_ssim(phase, phase_ref, area, phase_range),
        ssim_amplitude=_ssim(np.abs(registered.object_), np.abs(reference), area, amplitude_range),
        phase_range_rad=phase_range,
        amplitude_range=amplitude_range,
        phase_rmse_rad=phase_error**0.5,
        frc=inner_correlation(registered.object_, reference, area),
        registered=registered,
        reference=reference,
        area=area,
        corner_px=corner_px,
    )


def _mean_square(difference: NDArray[np.inexact], area: NDArray[np.bool_]) -> float:
    return float(np.mean(np.abs(difference[area]) ** 2))


def _decibel(peak: float, mean_square: float) -> float:
    """Peak signal-to-noise ratio in dB; infinite where there is no error, NaN where there is no peak."""
    if mean_square == 0:
        return float("inf")
    return 10 * float(np.log10(peak**2 / mean_square)) if peak > 0 else float("nan")


def _ssim(image: FloatArray, reference: FloatArray, area: NDArray[np.bool_], data_range: float) -> float:
    """Mean structural similarity over windows of 7 px inside the area; NaN where the reference is flat."""
    inner = ndimage.binary_erosion(area, np.ones((_SSIM_WINDOW, _SSIM_WINDOW)))
    if not inner.any() or data_range == 0:
        return float("nan")
    similarity: Any = structural_similarity  # scikit-image has no annotations
    _, local = similarity(image, reference, win_size=_SSIM_WINDOW, data_range=data_range, full=True)
    return float(local[inner].mean())


def _common_window(
    found: Placed, reference: Placed, area: NDArray[np.bool_]
) -> tuple[Canvas, Canvas, tuple[float, float]]:
    """Window in the reference (with a margin for shifts), the same in the found object, the sub-pixel rest."""
    offset = np.asarray(reference.origin_px) - np.asarray(found.origin_px)
    whole = np.rint(offset).astype(int)
    box = Canvas.bounding(area)
    low = np.maximum(box.corner, -whole)
    high = np.minimum(np.add(box.corner, box.shape), np.array(found.object_.shape) - whole)
    if (high - low).min() < 16 or area.shape != reference.object_.shape:
        msg = (
            f"object {found.object_.shape} at {found.origin_px} and reference {reference.object_.shape} at "
            f"{reference.origin_px} share {np.maximum(high - low, 0).tolist()} px of the scanned area {area.shape}; "
            "expected at least 16 by 16. Check the origins."
        )
        raise ConfigError(msg)
    low = np.maximum(low - _MARGIN_PX, np.maximum(0, -whole))
    high = np.minimum(high + _MARGIN_PX, np.minimum(reference.object_.shape, np.array(found.object_.shape) - whole))
    shape = (int(high[0] - low[0]), int(high[1] - low[1]))
    corner, rest = low + whole, whole - offset
    window, cut = (Canvas((float(at[0]), float(at[1])), shape) for at in (low, corner))
    return window, cut, (float(rest[0]), float(rest[1]))
