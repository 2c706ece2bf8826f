"""How uncertain an object is: from the results of two independent halves of its photons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ptycho_dist.evaluate.frc import RingCorrelation
from ptycho_dist.evaluate.halves import ComplexArray, Halves
from ptycho_dist.evaluate.metrics import NO_BOX, inner_correlation, soft_weight
from ptycho_dist.evaluate.metrics_file import NotMeasured
from ptycho_dist.evaluate.registration import register
from ptycho_dist.types import FloatArray

_SMOOTH_PX, _SMOOTH_DETAIL_PX, _LEAST_SHARE = 3.0, 8.0, 1e-3


@dataclass(frozen=True)
class HalvesCompared:
    """What two halves say of the whole.

    Parameters
    ----------
    deviation_HW
        Root mean square error of the transmission, float64, shape (H, W).
    frc
        Fourier ring correlation of the halves; None where no box of 16 pixels a side lies within the area.
    area
        bool, shape (H, W): where the scan has light.
    """

    deviation_HW: FloatArray
    frc: RingCorrelation | None
    area: NDArray[np.bool_]

    def facts(self, pixel_size_m: float) -> dict[str, Any]:
        """Give what metrics say of it."""
        median = float(np.median(self.deviation_HW[self.area]))
        return {"uncertainty_median": median} | _resolutions(self.frc, pixel_size_m)


def _resolutions(frc: RingCorrelation | None, pixel_size_m: float) -> dict[str, Any]:
    names = ("halves_resolution_half_bit_px", "halves_resolution_one_seventh_px", "halves_resolution_one_seventh_m")
    if frc is None:
        return dict.fromkeys(names, NotMeasured(NO_BOX))
    half, seventh = frc.resolution_half_bit_px, frc.resolution_one_seventh_px
    none, unknown = "not resolved", "not resolved, or the size of a pixel is unknown"
    found = ((half, none), (seventh, none), (seventh * pixel_size_m, unknown))
    values = (value if np.isfinite(value) else NotMeasured(reason) for value, reason in found)
    return dict(zip(names, values, strict=True))


def compare_halves(whole: ComplexArray, halves: Halves, area: NDArray[np.bool_]) -> HalvesCompared:
    r"""Tell the error of an object from those of the two halves of its photons.

    The square of the error is the sum of three, each smoothed over a few pixels. Noise: with half the photons its
    variance is twice as large, so half the difference of the halves has that of the whole. Change with the dose: what
    regularisation takes away is about twice as much with half the photons, so the mean of the halves is off the whole
    by about what the whole is off the truth. Detail that is taken away at both doses: what regularisation took from
    one half, times what it took from the other; noise of the two is independent and averages out.
    What none of them shows is a wrong model, such as a wrong probe.

    Parameters
    ----------
    whole
        Object, complex, shape (H, W).
    halves
        Objects of its halves; shift, phase ramp, phase and scale against the whole are removed.
    area
        bool, shape (H, W): where the scan has light.

    Raises
    ------
    ConfigError
        If the area is too small.
    """
    first, second = (_onto(whole, one, area, halves) for one in halves.found)
    noise, change = (first - second) / 2, (first + second) / 2 - whole
    square = _smooth(np.abs(noise) ** 2 + np.abs(change) ** 2, area, _SMOOTH_PX)
    if halves.plain is not None:
        plain = [_onto(whole, one, area, halves) for one in halves.plain]
        common = ((plain[0] - first) * np.conj(plain[1] - second)).real
        square += np.maximum(_smooth(common, area, _SMOOTH_DETAIL_PX), 0.0)
    return HalvesCompared(np.sqrt(square), inner_correlation(first, second, area), area)


def _onto(whole: ComplexArray, half: ComplexArray, area: NDArray[np.bool_], halves: Halves) -> ComplexArray:
    return register(half, whole, soft_weight(area), find_shift=halves.find_shift).object_


def _smooth(values: FloatArray, area: NDArray[np.bool_], width_px: float) -> FloatArray:
    """Gaussian mean of what lies in an area."""
    share = np.maximum(gaussian_filter(area.astype(np.float64), width_px), _LEAST_SHARE)
    return np.asarray(gaussian_filter(np.where(area, values, 0.0), width_px) / share)
