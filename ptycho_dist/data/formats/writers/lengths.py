"""Lengths of a scan in metres, for formats that hold them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent
from ptycho_dist.physics.wavelengths import wavelength_m
from ptycho_dist.types import FAR_FIELD, FloatArray

ELEMENTARY_CHARGE_C = 1.602176634e-19


@dataclass(frozen=True)
class Lengths:
    """Lengths of a scan whose object pixel, energy and distance are known.

    Parameters
    ----------
    wavelength_m
        Of photons, or of electrons, of the energy.
    detector_pixel_m
        Pixel of the detector, of which a far field of N pixels gives the object pixel; in the near field the object
        pixel times the magnification.
    corners_m
        float64, shape (B, 2): patch corners (y, x).
    """

    wavelength_m: float
    detector_pixel_m: float
    corners_m: FloatArray


def lengths_of(content: ScanContent, N: int, *, knows_electrons: bool = False) -> Lengths:
    """Return the lengths of a scan of patterns of N by N pixels.

    Formats that know photons only, whatever the energy, get the detector pixel by which these give the object pixel.
    """
    wavelength = wavelength_m(content.energy_eV, is_electron=content.is_electron and knows_electrons)
    pixel = wavelength * content.detector_distance_m / (N * content.pixel_size_m)
    if content.propagation.kind != FAR_FIELD.kind:
        pixel = content.pixel_size_m * content.detector_distance_m / content.propagation.distance_m
    return Lengths(
        wavelength_m=wavelength,
        detector_pixel_m=pixel,
        corners_m=np.asarray(content.positions_px, np.float64) * content.pixel_size_m,
    )
