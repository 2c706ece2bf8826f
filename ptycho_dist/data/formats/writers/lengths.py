"""Lengths of a scan in metres, for formats that hold them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent
from ptycho_dist.physics.wavelengths import wavelength_m
from ptycho_dist.types import FloatArray

ELEMENTARY_CHARGE_C = 1.602176634e-19


@dataclass(frozen=True)
class Lengths:
    """Lengths of a scan whose object pixel, energy and distance are known.

    Parameters
    ----------
    wavelength_m
        Of photons of the energy.
    detector_pixel_m
        Pixel of the detector, of which a far field of N pixels gives the object pixel.
    corners_m
        float64, shape (B, 2): patch corners (y, x).
    """

    wavelength_m: float
    detector_pixel_m: float
    corners_m: FloatArray


def lengths_of(content: ScanContent, N: int) -> Lengths:
    """Return the lengths of a scan of patterns of N by N pixels."""
    wavelength = wavelength_m(content.energy_eV)
    return Lengths(
        wavelength_m=wavelength,
        detector_pixel_m=wavelength * content.detector_distance_m / (N * content.pixel_size_m),
        corners_m=np.asarray(content.positions_px, np.float64) * content.pixel_size_m,
    )
