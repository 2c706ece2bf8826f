"""The probe behind a pinhole or another round aperture."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ptycho_dist.errors import PhysicsError
from ptycho_dist.physics.start_probes.frame import ProbeFrame, StartProbe, start_probe


@start_probe("pinhole")
def pinhole(frame: ProbeFrame, numbers: Mapping[str, float]) -> StartProbe:
    """Make a disc of light at the distance of the object (0: in contact).

    Raises
    ------
    PhysicsError
        If the disc does not go into the frame.
    """
    wavelength, radius_px = frame.wavelength_m(), numbers["diameter_m"] / frame.pixel_size_m / 2
    if not 1 <= radius_px <= frame.N / 2:
        msg = (
            f"a pinhole of {numbers['diameter_m']:g} m is {2 * radius_px:.3g} object pixels wide; expected 2 to "
            f"{frame.N}. Check its diameter, the pixel size, and the number of detector pixels."
        )
        raise PhysicsError(msg)
    axis = np.arange(frame.N) - frame.N // 2
    disc = np.clip(radius_px + 0.5 - np.hypot(axis[:, None], axis), 0.0, 1.0)
    spectrum = np.fft.fft2(np.fft.ifftshift(disc))
    return StartProbe(spectrum, wavelength / frame.pixel_size_m**2, numbers.get("distance_m", 0.0))
