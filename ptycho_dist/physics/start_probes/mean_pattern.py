"""The probe that the mean pattern tells: its light, of which the phase is unknown but for a curvature."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ptycho_dist.physics.start_probes.frame import ProbeFrame, StartProbe, start_probe


@start_probe("mean_pattern")
def mean_pattern(frame: ProbeFrame, numbers: Mapping[str, float]) -> StartProbe:
    """Take the root of the mean pattern as the wave in the detector plane: what an object scatters averages out."""
    known = math.isfinite(frame.energy_eV) and math.isfinite(frame.pixel_size_m)
    defocus = numbers.get("defocus_m")
    wavelength = frame.wavelength_m() if known or defocus is not None else math.nan
    spectrum = np.fft.ifftshift(np.sqrt(np.maximum(frame.mean_NN, 0.0))).astype(np.complex128)
    return StartProbe(spectrum, wavelength / frame.pixel_size_m**2, defocus)
