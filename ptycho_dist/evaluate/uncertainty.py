"""How uncertain an object is: from the results of two independent halves of its photons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ptycho_dist.evaluate.frc import RingCorrelation, ring_correlation
from ptycho_dist.evaluate.metrics import largest_inner_box, soft_weight
from ptycho_dist.evaluate.metrics_file import NotMeasured
from ptycho_dist.evaluate.registration import register
from ptycho_dist.types import FloatArray

ComplexArray = NDArray[np.complex128]
_SMOOTH_PX = 3.0


@dataclass(frozen=True)
class HalvesCompared:
    """What two halves say of the whole.

    Parameters
    ----------
    deviation_HW
        Root mean square error of the transmission, float64, shape (H, W).
    frc
        Fourier ring correlation of the halves.
    area
        bool, shape (H, W): where the scan has light.
    """

    deviation_HW: FloatArray
    frc: RingCorrelation
    area: NDArray[np.bool_]

    def facts(self, pixel_size_m: float) -> dict[str, Any]:
        """Give what metrics say of it."""
        found = {
            "uncertainty_median": float(np.median(self.deviation_HW[self.area])),
            "halves_resolution_half_bit_px": self.frc.resolution_half_bit_px,
            "halves_resolution_one_seventh_px": self.frc.resolution_one_seventh_px,
        }
        named = {name: value if np.isfinite(value) else NotMeasured("not resolved") for name, value in found.items()}
        in_m = found["halves_resolution_one_seventh_px"] * pixel_size_m
        unknown = NotMeasured("not resolved, or the size of a pixel is unknown")
        return named | {"halves_resolution_one_seventh_m": in_m if np.isfinite(in_m) else unknown}


def compare_halves(
    whole: ComplexArray, halves: tuple[ComplexArray, ComplexArray], area: NDArray[np.bool_], *, find_shift: bool
) -> HalvesCompared:
    r"""Tell the error of an object from those of the two halves of its photons.

    With half the photons the variance of noise is twice as large, so half the difference d of the halves has the noise of
    the whole. What regularisation takes away is about twice as much with half the photons, so the mean m of the halves
    is off the whole w by about what w is off the truth. Together, smoothed over 3 pixels:
    :math:`\sqrt{\langle |d|^2 + |m - w|^2 \rangle}`. What the halves and the whole have in common does not show: a
    wrong model, and detail that none of them sees.

    Parameters
    ----------
    whole, halves
        Objects, complex, shape (H, W); shift, phase ramp, phase and scale of the halves are removed.
    area
        bool, shape (H, W): where the scan has light.
    find_shift
        Whether a shift is to be removed, as where the probe was refined.

    Raises
    ------
    ConfigError
        If the area is too small.
    """
    weight = soft_weight(area)
    first, second = (register(one, whole, weight, find_shift=find_shift).object_ for one in halves)
    noise, bias = (first - second) / 2, (first + second) / 2 - whole
    square = np.abs(noise) ** 2 + np.abs(bias) ** 2
    inside = gaussian_filter(area.astype(np.float64), _SMOOTH_PX)
    smooth = gaussian_filter(np.where(area, square, 0.0), _SMOOTH_PX) / np.maximum(inside, 1e-3)
    box = largest_inner_box(area).slices
    deviation = np.sqrt(np.where(area, smooth, np.maximum(smooth, square)))
    return HalvesCompared(np.asarray(deviation), ring_correlation(first[box], second[box]), area)
