"""The probe of an electron microscope: a round aperture and the aberrations of its lens."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ptycho_dist.physics.start_probes.frame import ProbeFrame, StartProbe, start_probe


@start_probe("electron")
def electron(frame: ProbeFrame, numbers: Mapping[str, float]) -> StartProbe:
    r"""Aperture of a semi-angle of convergence, with the phase :math:`-\pi C_s \lambda^3 k^4 / 2`.

    The round part of the aberration function (Kirkland, Advanced Computing in Electron Microscopy, 2nd ed. (2010),
    Eq. 2.10); defocus is added in :meth:`StartProbe.wave`.
    """
    wavelength, pixel = frame.wavelength_m(is_electron=True), frame.pixel_size_m
    pupil = frame.disc(numbers["semi_angle_rad"] / wavelength * pixel, "aperture")
    k = frame.radius() / pixel
    chi = 0.5 * math.pi * numbers.get("spherical_aberration_m", 0.0) * wavelength**3 * k**4
    return StartProbe(pupil * np.exp(-1j * chi), wavelength / pixel**2, numbers.get("defocus_m"))
