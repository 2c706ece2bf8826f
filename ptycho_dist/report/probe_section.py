"""The probe in a report: its modes as hue pictures, their powers, and how it is focused along the beam."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.product_h5 import Product
from ptycho_dist.evaluate.figure_data import wave_picture, wave_wheel
from ptycho_dist.physics.sampling import probe_diameter
from ptycho_dist.physics.wavelengths import wavelength_m
from ptycho_dist.report.images import Map, data_address
from ptycho_dist.types import FloatArray

_MOST_MODES = 16
_PLANES = 121
_REACH = 1.5
"""Distance looked at on both sides, over that in which the edge of the beam would reach its axis."""
_LIT = 0.9
_LEAST_SIDE_PX = 64
_ELECTRON_PIXEL_M, _ELECTRON_ENERGY_EV = 0.5e-9, 2e4
"""Pixels below this size, at an energy above, are those of electrons: no X-ray optics resolves so little."""


@dataclass(frozen=True)
class Focus:
    """Intensity of a probe along the beam.

    Parameters
    ----------
    along_ZN
        float64, shape (Z, N): intensity, summed over modes, in the horizontal plane through its centre.
    distance_m
        float64, shape (Z,): distance from the object, along the beam.
    best_m
        Distance at which the beam is narrowest.
    width_m
        Full width at half maximum there, of the intensity on that line.
    """

    along_ZN: FloatArray
    distance_m: FloatArray
    best_m: float
    width_m: float


def probe_section(product: Product) -> dict[str, Any]:
    """Give the page the modes of a probe and its focus."""
    probe = product.probe
    energies = (np.abs(probe) ** 2).sum(axis=(1, 2), dtype=np.float64)
    powers = energies / energies.sum()
    modes = [
        {"png": data_address(enlarged(wave_picture(mode), _LEAST_SIDE_PX)), "power": float(power)}
        for mode, power in zip(probe[:_MOST_MODES], powers, strict=False)
    ]
    size = product.geometry.pixel_size_m
    told = {
        "modes": modes,
        "left_out": max(0, len(probe) - _MOST_MODES),
        "wheel": data_address(wave_wheel()),
        "N": product.geometry.N,
        "pixel_size_m": size if math.isfinite(size) else None,
        "diameter_px": float(probe_diameter(probe)),
    }
    found = focus_of(product)
    return told | {"focus": None if isinstance(found, str) else _focus_map(found), "why_no_focus": _text(found)}


def focus_of(product: Product) -> Focus | str:
    """Propagate a probe along the beam; or say why that cannot be done.

    Free space is crossed by the angular spectrum in the paraxial form, exp(-i pi lambda z f^2)
    (Goodman, Introduction to Fourier Optics, 3rd ed. (2005), Eq. 4-21).
    """
    size, energy = product.geometry.pixel_size_m, product.metadata.probe_energy_eV
    if not (math.isfinite(size) and energy > 0):
        return "the pixel size or the energy is not known"
    wavelength = _wavelength_m(product)
    probe = product.probe.astype(np.complex128)
    frequency = np.fft.fftfreq(probe.shape[-1], size)
    spectrum = np.fft.fft2(probe)
    opening = wavelength * _radius_of(np.asarray(np.abs(spectrum) ** 2, np.float64), np.asarray(frequency, np.float64))
    if not opening > 0:
        return "the probe is one wave without an opening angle"
    radius = 0.5 * probe_diameter(product.probe) * size
    reach = _REACH * max(radius / opening, 4 * wavelength / opening**2)
    distance = np.linspace(-reach, reach, _PLANES)
    square = frequency[:, None] ** 2 + frequency**2
    lines, sharpness = [], []
    for z in distance:
        wave = np.fft.ifft2(spectrum * np.exp(-1j * np.pi * wavelength * z * square))
        intensity = (np.abs(wave) ** 2).sum(axis=0)
        lines.append(intensity[int(intensity.sum(axis=1).argmax())])
        sharpness.append(float((intensity**2).sum()))
    best = int(np.argmax(sharpness))
    return Focus(np.array(lines), distance, float(distance[best]), _width(lines[best]) * size)


def enlarged(picture: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Repeat the pixels of a small picture until it has a side of at least ``side_px``."""
    times = max(1, math.ceil(side_px / picture.shape[0]))
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def _wavelength_m(product: Product) -> float:
    energy = product.metadata.probe_energy_eV
    is_electron = product.geometry.pixel_size_m < _ELECTRON_PIXEL_M and energy > _ELECTRON_ENERGY_EV
    return wavelength_m(energy, is_electron=is_electron)


def _radius_of(power_PNN: FloatArray, frequency: FloatArray) -> float:
    """Spatial frequency within which most of the light lies."""
    power = power_PNN.sum(axis=0).ravel()
    radius = np.hypot(frequency[:, None], frequency).ravel()
    order = np.argsort(radius)
    within = np.cumsum(power[order])
    return float(radius[order][int(np.searchsorted(within, _LIT * within[-1]))])


def _width(line: FloatArray) -> float:
    """Full width at half maximum around the maximum, in pixels, interpolated."""
    top = int(line.argmax())
    half = line[top] / 2

    def side(values: FloatArray) -> float:
        below = np.flatnonzero(values < half)
        if not below.size:
            return float(len(values))
        k = int(below[0])
        return k - 1 + float((values[k - 1] - half) / (values[k - 1] - values[k]))

    return side(line[top:]) + side(line[top::-1])


def _focus_map(focus: Focus) -> dict[str, Any]:
    shown = np.sqrt(focus.along_ZN.T)
    top = float(shown.max()) or 1.0
    image = Map("focus", "amplitude along the beam", "sqrt(counts)", shown, (0.0, top), "magma").packed()
    ends = {"first_m": float(focus.distance_m[0]), "last_m": float(focus.distance_m[-1])}
    return image | ends | {"best_m": focus.best_m, "width_m": focus.width_m}


def _text(found: Focus | str) -> str:
    return found if isinstance(found, str) else ""
