"""The probe of a Fresnel zone plate with a central stop."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ptycho_dist.physics.start_probes.frame import ProbeFrame, StartProbe, start_probe


@start_probe("zone_plate")
def zone_plate(frame: ProbeFrame, numbers: Mapping[str, float]) -> StartProbe:
    r"""Annulus of the radius :math:`1 / (2 \Delta r)` in spatial frequency, for the outermost zone :math:`\Delta r`.

    The numerical aperture is :math:`\lambda / (2 \Delta r)` (Attwood, Soft X-rays and Extreme Ultraviolet Radiation
    (1999), Eq. 9.18); the stop hides the same share of it as of the diameter.
    """
    wavelength = frame.wavelength_m()
    edge = frame.pixel_size_m / (2 * numbers["outermost_zone_m"])
    pupil = frame.disc(edge, "aperture of the zone plate")
    stop = edge * numbers.get("central_stop_m", 0.0) / numbers["diameter_m"]
    if stop * frame.N >= 1:
        pupil = pupil - frame.disc(stop, "central stop")
    return StartProbe(pupil.astype(np.complex128), wavelength / frame.pixel_size_m**2, numbers.get("defocus_m"))
