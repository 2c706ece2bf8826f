"""Random probes of several kinds of optics: zone plates, mirrors, lenses for electrons, pinholes."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ptycho_dist.types import FloatArray

_TRIES = 200
_LEAST, _MOST = 0.1, 0.55
"""Diameter of a useful probe, as a share of the frame."""
_ENERGY = 0.9


def diameter_px(wave_NN: NDArray[np.complex128]) -> float:
    """Diameter of the disc around the middle that holds 90 % of the energy."""
    N = len(wave_NN)
    y, x = np.mgrid[:N, :N] - N // 2
    radius, intensity = np.hypot(y, x).ravel(), np.abs(wave_NN).ravel() ** 2
    order = np.argsort(radius)
    inside = np.searchsorted(np.cumsum(intensity[order]), _ENERGY * intensity.sum())
    return 2 * float(radius[order][min(inside, N * N - 1)])


def probe(N: int, rng: Generator) -> NDArray[np.complex128]:
    """Draw a probe (N, N) of energy 1, centred, whose diameter is 10 to 55 % of the frame."""
    for _ in range(_TRIES):
        wave = centred(_wave(N, rng))
        if _LEAST * N <= diameter_px(wave) <= _MOST * N:
            return wave
    msg = f"no probe of {_LEAST:g} to {_MOST:g} of {N} pixels in {_TRIES} tries; expected one. Use N of 64 or more."
    raise ValueError(msg)


def aberrated(wave_NN: NDArray[np.complex128], rms_rad: float, rng: Generator) -> NDArray[np.complex128]:
    """Give a probe random aberrations of a smooth kind."""
    y, x = _frequencies(len(wave_NN))
    return np.asarray(np.fft.ifft2(np.fft.fft2(wave_NN) * np.exp(1j * rms_rad * _polynomial(y, x, 0.2, rng))))


def centred(wave_NN: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Move the centre of mass to the middle, by whole pixels; energy 1."""
    N = len(wave_NN)
    intensity = np.abs(wave_NN) ** 2
    y, x = np.mgrid[:N, :N] - N // 2
    shift = [-round(float((intensity * axis).sum() / intensity.sum())) for axis in (y, x)]
    return np.asarray(np.roll(wave_NN, shift, (0, 1)) / np.linalg.norm(wave_NN))


def _wave(N: int, rng: Generator) -> NDArray[np.complex128]:
    y, x = _frequencies(N)
    edge = float(rng.uniform(0.08, 0.3))
    kind = rng.integers(4)
    pupil: NDArray[np.complex128] | FloatArray
    if kind == 0:
        pupil = _disc(np.hypot(y, x), edge, N) - _disc(np.hypot(y, x), edge * rng.uniform(0.2, 0.5), N)
    elif kind == 1:
        pupil = _disc(np.maximum(np.abs(y), np.abs(x) * rng.uniform(0.7, 1.4)), edge, N)
    elif kind == 2:
        pupil = _disc(np.hypot(y, x), edge, N)
    else:
        pupil = _pinhole(N, rng)
    blur_px = rng.uniform(0, 0.35 if kind != 3 else 0.12) * N
    phase = np.pi * blur_px / (2 * edge) * (y**2 + x**2) * rng.choice([-1, 1])
    if rng.random() < 0.7:
        phase = phase + rng.uniform(0, 0.6) * _polynomial(y, x, edge, rng)
    return np.asarray(np.fft.fftshift(np.fft.ifft2(pupil * np.exp(1j * phase))))


def _pinhole(N: int, rng: Generator) -> NDArray[np.complex128]:
    """Spectrum of an opening of 15 to 45 % of the frame."""
    y, x = np.mgrid[:N, :N] - N // 2
    opening = np.clip(rng.uniform(0.15, 0.45) * N / 2 - np.hypot(y, x) + 0.5, 0, 1)
    return np.asarray(np.fft.fft2(np.fft.ifftshift(opening)))


def _frequencies(N: int) -> tuple[FloatArray, FloatArray]:
    y, x = np.meshgrid(np.fft.fftfreq(N), np.fft.fftfreq(N), indexing="ij")
    return np.asarray(y), np.asarray(x)


def _disc(distance: FloatArray, edge: float, N: int) -> FloatArray:
    return np.asarray(np.clip((edge - distance) * N + 0.5, 0, 1))


def _polynomial(y: FloatArray, x: FloatArray, edge: float, rng: Generator) -> FloatArray:
    """Random polynomial of the orders two to four in the coordinates of the pupil."""
    y, x = (np.clip(axis / edge, -1.2, 1.2) for axis in (y, x))
    terms = [rng.standard_normal() * y**i * x ** (order - i) for order in (2, 3, 4) for i in range(order + 1)]
    return np.asarray(np.sum(terms, axis=0))
