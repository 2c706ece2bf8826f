"""The probe of mirrors: a Gaussian focus."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ptycho_dist.errors import PhysicsError
from ptycho_dist.physics.start_probes.frame import ProbeFrame, StartProbe, start_probe

_SIGMA_OF_FWHM = 1 / (2 * math.sqrt(math.log(2)))
"""Standard deviation of a Gaussian amplitude over the full width at half maximum of its square."""


@start_probe("gaussian")
def gaussian(frame: ProbeFrame, numbers: Mapping[str, float]) -> StartProbe:
    """Make a Gaussian focus of a full width at half maximum of intensity along y, and along x where that differs.

    Raises
    ------
    PhysicsError
        If it is narrower than a pixel or wider than the frame.
    """
    wavelength = frame.wavelength_m()
    widths = numbers["fwhm_m"], numbers.get("fwhm_x_m", numbers["fwhm_m"])
    sigmas = [_SIGMA_OF_FWHM * width / frame.pixel_size_m for width in widths]
    if not all(0.3 <= sigma <= frame.N / 2 for sigma in sigmas):
        msg = (
            f"a focus of {widths[0]:g} by {widths[1]:g} m has object pixels of {frame.pixel_size_m:g} m and a frame "
            f"of {frame.N}; expected a width between a pixel and the frame. Check both."
        )
        raise PhysicsError(msg)
    y, x = frame.frequency()
    spectrum = np.exp(-2 * math.pi**2 * ((sigmas[0] * y) ** 2 + (sigmas[1] * x) ** 2))
    return StartProbe(spectrum.astype(np.complex128), wavelength / frame.pixel_size_m**2, numbers.get("defocus_m"))
