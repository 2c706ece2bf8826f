"""Wavelengths of photons and electrons, and energies from them."""

from __future__ import annotations

import math

HC_EV_M = 1.239841984e-6
"""Planck's constant times the speed of light (CODATA 2018)."""
_ELECTRON_REST_EV = 510998.95


def wavelength_m(energy_eV: float, *, is_electron: bool = False) -> float:
    """Wavelength of photons (hc / E), or of electrons (relativistic: hc / sqrt(E (E + 2 m c^2)))."""
    return HC_EV_M / (math.sqrt(energy_eV * (energy_eV + 2 * _ELECTRON_REST_EV)) if is_electron else energy_eV)


def energy_eV_of(wavelength_m: float, *, is_electron: bool = False) -> float:  # noqa: N802  # the unit
    """Energy of photons, or of electrons, in electronvolts; undoes :func:`wavelength_m`."""
    momentum = HC_EV_M / wavelength_m
    return math.hypot(momentum, _ELECTRON_REST_EV) - _ELECTRON_REST_EV if is_electron else momentum
