"""Probes of a zone plate: an annular pupil, focused, then taken out of focus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.physics.wavelengths import wavelength_m
from ptycho_dist.types import FloatArray

_MODE_ENERGY = 0.1


@dataclass(frozen=True, kw_only=True)
class ZonePlate:
    """Pupil and defocus of a zone-plate probe.

    Parameters
    ----------
    pupil_radius
        Radius of the aperture as a share of N (in the plane of the detector).
    central_stop
        Radius of the stop as a share of the aperture's.
    defocus_m
        Distance from focus to object, in metres.
    pixel_size_m, energy_eV
        Object pixel in metres; photon energy.
    """

    pupil_radius: float
    central_stop: float
    defocus_m: float
    pixel_size_m: float
    energy_eV: float

    def probe(self, N: int) -> NDArray[np.complex128]:
        """Return the wave on the object, (N, N), with the energy 1.

        The defocus is the angular-spectrum propagator of free space (Goodman,
        Introduction to Fourier Optics, 3rd ed. (2005), Eq. 3-74).
        """
        frequency = np.asarray(np.fft.fftfreq(N), dtype=np.float64)
        radius = np.hypot(frequency[:, None], frequency) * N
        outer = self.pupil_radius * N
        pupil = _soft_disc(radius, outer) - _soft_disc(radius, self.central_stop * outer)
        spectrum = pupil * np.exp(1j * self._phase(frequency))
        wave = np.fft.fftshift(np.fft.ifft2(spectrum))
        return np.asarray(wave / np.linalg.norm(wave))

    def _phase(self, frequency: FloatArray) -> FloatArray:
        wavelength = wavelength_m(self.energy_eV)
        sine_squared = (wavelength / self.pixel_size_m) ** 2 * (frequency[:, None] ** 2 + frequency**2)
        return np.asarray(2 * np.pi * self.defocus_m / wavelength * (np.sqrt(np.maximum(1 - sine_squared, 0)) - 1))


def incoherent_modes(probe: NDArray[np.complex128], n_modes: int) -> NDArray[np.complex128]:
    """Return P orthogonal modes (P, N, N) of total energy 1, each a tenth as strong as the one before.

    Mode m is the probe times the m-th power of x, made orthogonal to those before it (Gram-Schmidt).
    """
    N = probe.shape[-1]
    x = np.linspace(-1, 1, N)
    basis: list[NDArray[np.complex128]] = []
    for m in range(n_modes):
        mode = probe * x**m
        for other in basis:
            mode = mode - other * np.vdot(other, mode)
        basis.append(mode / np.linalg.norm(mode))
    energy = _MODE_ENERGY ** np.arange(n_modes)
    return np.asarray(np.stack(basis) * np.sqrt(energy / energy.sum())[:, None, None])


def aberrated(probe_PNN: NDArray[np.complex128], rms_rad: float, rng: np.random.Generator) -> NDArray[np.complex128]:
    """Give all modes of a probe one random smooth phase in the detector plane.

    The phase is a random sum of the polynomials in x and y of order two to four, over the disc that holds
    nearly all of the power, with its mean taken off. Energy and orthogonality of the modes stay.

    Parameters
    ----------
    probe_PNN
        Modes, complex, shape (P, N, N).
    rms_rad
        Root mean square of the phase, weighted by the light, in radians.
    rng
        Source of the coefficients.
    """
    spectrum = np.fft.fft2(probe_PNN)
    light = (np.abs(spectrum) ** 2).sum(axis=0)
    light = light / light.sum()
    frequency = np.asarray(np.fft.fftfreq(probe_PNN.shape[-1]))
    edge = np.sqrt((light * (frequency[:, None] ** 2 + frequency**2)).sum()) * _EDGE
    y, x = (np.clip(axis / edge, -1, 1) for axis in np.meshgrid(frequency, frequency, indexing="ij"))
    phase = sum(rng.standard_normal() * y**i * x ** (n - i) for n in _ORDERS for i in range(n + 1))
    phase = phase - (light * phase).sum()
    scale = rms_rad / np.sqrt((light * phase**2).sum())
    return np.asarray(np.fft.ifft2(spectrum * np.exp(1j * scale * phase)))


_ORDERS, _EDGE = (2, 3, 4), 2.0


def _soft_disc(radius: FloatArray, edge: float) -> FloatArray:
    return np.asarray(np.clip(edge + 0.5 - radius, 0.0, 1.0)) if edge > 0 else np.zeros_like(radius)
