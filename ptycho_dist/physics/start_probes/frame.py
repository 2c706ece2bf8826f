"""The frame of a probe, its spatial frequencies, and defocus; and the kinds of probes, by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.errors import PhysicsError
from ptycho_dist.physics.wavelengths import wavelength_m
from ptycho_dist.registry import Registry
from ptycho_dist.types import FloatArray

Wave = NDArray[np.complex128]


@dataclass(frozen=True)
class ProbeFrame:
    """Where a probe is to be made.

    Parameters
    ----------
    N
        Pixels along one side.
    pixel_size_m
        Object pixel; NaN where unknown.
    energy_eV
        Of a photon or an electron; NaN where unknown.
    mean_NN
        Mean pattern in counts, zero frequency in the centre, float64, shape (N, N).
    """

    N: int
    pixel_size_m: float
    energy_eV: float
    mean_NN: FloatArray

    def frequency(self) -> tuple[FloatArray, FloatArray]:
        """Spatial frequencies along y (N, 1) and x (1, N) in cycles per pixel, in the order of the transform."""
        axis = np.asarray(np.fft.fftfreq(self.N), np.float64)
        return axis[:, None], axis[None, :]

    def radius(self) -> FloatArray:
        """Distance from the zero frequency, (N, N), in cycles per pixel."""
        return np.asarray(np.hypot(*self.frequency()))

    def wavelength_m(self, *, is_electron: bool = False) -> float:
        """Wavelength of the photons, or of electrons.

        Raises
        ------
        PhysicsError
            If the energy or the size of a pixel is unknown.
        """
        unknown = [name for name in ("pixel_size_m", "energy_eV") if not math.isfinite(getattr(self, name))]
        if unknown:
            flags = " and ".join(f"--{name}" for name in unknown)
            msg = f"this start of the probe needs {' and '.join(unknown)}, which the scan does not say. Give {flags}."
            raise PhysicsError(msg)
        return wavelength_m(self.energy_eV, is_electron=is_electron)

    def disc(self, edge: float, what: str) -> FloatArray:
        """Disc of a radius in cycles per pixel, with an edge one detector pixel wide.

        Raises
        ------
        PhysicsError
            If it is larger than the detector, or smaller than a pixel of it.
        """
        if not 1 / self.N <= edge <= 0.5:
            msg = (
                f"the {what} fills {2 * edge * self.N:.3g} of {self.N} detector pixels; expected 2 to {self.N}. Check "
                "its numbers, energy and pixel size."
            )
            raise PhysicsError(msg)
        return np.asarray(np.clip((edge - self.radius()) * self.N + 0.5, 0.0, 1.0))


@dataclass(frozen=True)
class StartProbe:
    """A probe but for its defocus.

    Parameters
    ----------
    spectrum_NN
        The wave in the plane of the detector, complex128, shape (N, N), in the order of the transform.
    wavelength_px
        Wavelength over the squared object pixel, in 1/m, by which defocus in metres counts; NaN where unknown.
    defocus_m
        Distance from focus to object; None where it is to be found.
    """

    spectrum_NN: Wave
    wavelength_px: float
    defocus_m: float | None

    @property
    def curvature(self) -> float | None:
        r"""Curvature :math:`a` of :meth:`wave` in square pixels for the known defocus; None where unknown."""
        return None if self.defocus_m is None else -self.defocus_m * self.wavelength_px

    def wave(self, curvature: float) -> Wave:
        r"""Give the wave on the object, (N, N), with the phase :math:`\pi a (f_y^2 + f_x^2)` in the detector plane.

        That is Fresnel propagation over :math:`-a \, \mathrm{px}^2 / \lambda` (Goodman, Introduction to Fourier
        Optics, 3rd ed. (2005), Eq. 4-21).
        """
        axis = np.fft.fftfreq(len(self.spectrum_NN)) ** 2
        phase = np.exp(1j * np.pi * curvature * (axis[:, None] + axis))
        wave = np.fft.fftshift(np.fft.ifft2(self.spectrum_NN * phase))
        return np.asarray(wave / np.linalg.norm(wave))


Builder = Callable[[ProbeFrame, Mapping[str, float]], StartProbe]
_BUILDERS: Registry[Builder] = Registry("kind of probe", "ptycho_dist.physics.start_probes")
start_probe = _BUILDERS.register


def build(kind: str, frame: ProbeFrame, numbers: Mapping[str, float]) -> StartProbe:
    """Make a probe of a kind.

    Raises
    ------
    PhysicsError
        If its numbers do not go with the frame.
    """
    return _BUILDERS.entries()[kind](frame, numbers)
