"""From the units of a file to object pixels: wavelengths, the size of an object pixel, numbers that cannot be so."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.data.formats.measurement import CENTRE, ELECTRON, LIGHT, METRES, XRAY, Geometry, Positions
from ptycho_dist.errors import DataFormatError
from ptycho_dist.physics.wavelengths import energy_eV_of, wavelength_m
from ptycho_dist.types import FloatArray

ENERGIES_EV = {XRAY: (10.0, 3e5), ELECTRON: (10.0, 3.0001e5), LIGHT: (0.05, 100.0)}
"""Energies that occur, by radiation."""
_LEAST_SPACING_PX, _LEAST_SPAN_PX = 0.02, 1e-3
_SAME = 1e-3
_AGREES = 0.02


def wavelength_of(energy_eV: float, radiation: str) -> float:
    """Return the wavelength in metres of photons, or of electrons."""
    return wavelength_m(energy_eV, is_electron=radiation == ELECTRON)


def energy_of(wavelength_m: float, radiation: str = XRAY) -> float:
    """Return the energy in eV of photons, or of electrons, of a wavelength in metres; undoes :func:`wavelength_of`."""
    return energy_eV_of(wavelength_m, is_electron=radiation == ELECTRON)


def with_options(path: Path, geometry: Geometry, options: ScanOptions) -> tuple[Geometry, tuple[str, ...]]:
    """Complete what a file says by what the user says, also where it says what cannot be so; refuse such numbers.

    Returns
    -------
    Geometry
        That of the file, completed.
    tuple of str
        Which numbers of the file were not used, in words.

    Raises
    ------
    DataFormatError
        If an energy is outside 10 eV to 300 keV (light: 0.05 to 100 eV), or a distance or pixel size is no number
        above 0.
    """
    found, words = geometry, []
    least, most = ENERGIES_EV[geometry.radiation]
    for name, usable in (
        ("energy_eV", least <= geometry.energy_eV <= most),
        ("detector_distance_m", geometry.detector_distance_m > 0),
    ):
        said, held = getattr(options, name), getattr(found, name)
        if said is not None and not usable:
            found = replace(found, **{name: said})
            words += [f"{name}: {said:g} as given, for the file says {held:g}"] if math.isfinite(held) else []
    if options.detector_pixel_m is not None and not min(found.detector_pixel_m) > 0:
        found = replace(found, detector_pixel_m=(options.detector_pixel_m,) * 2)
    _require_energy(path, found)
    for name in ("detector_distance_m", "pixel_size_m", "angle_per_pixel_rad", "per_metre_per_pixel"):
        _require_positive(path, name, getattr(found, name))
    for one in found.detector_pixel_m:
        _require_positive(path, "detector_pixel_m", one)
    y, x = found.detector_pixel_m
    if abs(y - x) > _SAME * max(y, x):
        msg = f"detector pixels in {path} are {y:.4g} m high and {x:.4g} m wide; expected square ones. Resample them."
        raise DataFormatError(msg)
    return found, tuple(words)


def _require_energy(path: Path, geometry: Geometry) -> None:
    least, most = ENERGIES_EV[geometry.radiation]
    if math.isfinite(geometry.energy_eV) and not least <= geometry.energy_eV <= most:
        msg = (
            f"the energy in {path} is {geometry.energy_eV:.6g} eV; expected {least:g} to {most:g} eV for "
            f"{geometry.radiation}. Is it in another unit, or that of the storage ring (GeV)? Name its unit or another "
            "path in a map (energy: {path: ..., unit: keV}), or leave it out there and give --energy_eV."
        )
        raise DataFormatError(msg)


def _require_positive(path: Path, name: str, value: float) -> None:
    if math.isnan(value) or (value > 0 and math.isfinite(value)):
        return
    flag = name if name in ("detector_distance_m", "detector_pixel_m", "pixel_size_m") else "pixel_size_m"
    msg = f"{name} in {path} is {value:g}; expected a number > 0 (0 is written where nobody entered it). "
    raise DataFormatError(msg + f"Give --{flag}.")


def pixel_size(path: Path, geometry: Geometry, file_side: int, side: int, options: ScanOptions) -> tuple[float, str]:
    """Return the size of an object pixel in metres of frames of ``side`` detector pixels, and how it is known.

    Parameters
    ----------
    path
        The file, for messages.
    geometry
        Of :func:`with_options`.
    file_side
        Side of the frames to which a size stated in the file belongs.
    side
        Detector pixels along a side of the frames that are used, before binning.
    options
        What the user says.

    Returns
    -------
    float
        dx = wavelength * distance / (side * detector pixel), or the like from angles; NaN where it cannot be known.
    str
        In words; empty where it is not known.
    """
    computed, how = _computed(geometry, side)
    stated = geometry.pixel_size_m * file_side / side
    if math.isfinite(computed) and math.isfinite(stated) and abs(stated / computed - 1) > _AGREES:
        msg = (
            f"{path} states an object pixel of {stated:.5g} m for frames of {side} px, but {how} give "
            f"{computed:.5g} m; expected the same. Correct one of them, or leave it out in a map."
        )
        raise DataFormatError(msg)
    if math.isfinite(stated):
        return stated, f"object pixel {stated:.6g} m, as the file states"
    if math.isfinite(computed):
        return computed, f"object pixel {computed:.6g} m from {how}"
    if options.pixel_size_m is not None:
        return options.pixel_size_m, f"object pixel {options.pixel_size_m:.6g} m, as pixel_size_m says"
    return math.nan, ""


def _computed(geometry: Geometry, side: int) -> tuple[float, str]:
    if math.isfinite(geometry.per_metre_per_pixel):
        return 1 / (side * geometry.per_metre_per_pixel), f"{geometry.per_metre_per_pixel * 1e-10:.5g} 1/A per pixel"
    if not math.isfinite(geometry.energy_eV):
        return math.nan, ""
    wavelength = wavelength_of(geometry.energy_eV, geometry.radiation)
    if math.isfinite(geometry.angle_per_pixel_rad):
        how = f"{geometry.energy_eV:.6g} eV and {geometry.angle_per_pixel_rad * 1e3:.5g} mrad per pixel"
        return wavelength / (side * geometry.angle_per_pixel_rad), how
    pixel = geometry.detector_pixel_m[0]
    how = f"{geometry.energy_eV:.6g} eV, {geometry.detector_distance_m:.5g} m and {pixel * 1e6:.5g} um"
    return wavelength * geometry.detector_distance_m / (side * pixel), how


def corners_px(
    path: Path, positions: Positions, dx: float, sides: tuple[int, int], N: int, *, is_part: bool = False
) -> FloatArray:
    """Return the corners of the patches in object pixels, float64 (B, 2).

    Parameters
    ----------
    path
        The file, for messages.
    positions
        As the file has them.
    dx
        Object pixel in metres; NaN will do for positions in object pixels.
    sides
        Side of the frames of the file, and of those that are used, in detector pixels: lengths in object pixels of the
        first become such of the second by their ratio.
    N
        Side of the patches.
    is_part
        Whether they are some of a scan, which do not tell whether the unit can be right.

    Raises
    ------
    DataFormatError
        If the result cannot be object pixels.
    """
    if positions.unit == METRES:
        placed = positions.values / dx
        offset = N / 2 if positions.refer_to == CENTRE else 0.0
    else:
        ratio = sides[1] / sides[0]
        middle = positions.values if positions.refer_to == CENTRE else positions.values + sides[0] / 2
        is_same = ratio == 1.0 and positions.refer_to != CENTRE and sides[0] == N
        placed, offset = (positions.values, 0.0) if is_same else (middle * ratio, N / 2)
    result = placed - offset
    if not is_part:
        _require_pixels(path, positions, result, dx, N)
    return result


def require_known(path: Path, geometry: Geometry, dx: float) -> None:
    """Refuse positions in metres where the object pixel is NaN, naming what would give it.

    Raises
    ------
    DataFormatError
        If it is NaN.
    """
    if math.isfinite(dx):
        return
    lacking = [name for name in ("energy_eV", "detector_distance_m") if not getattr(geometry, name) > 0]
    lacking += [] if min(geometry.detector_pixel_m) > 0 else ["detector_pixel_m"]
    msg = (
        f"positions in {path} are in metres, but it lacks {', '.join(lacking)}, so the size of an object pixel is not "
        f"known; expected it. Give {', '.join(f'--{name}' for name in lacking)} (keys energy, distance, detector_pixel "
        "of a map), or --pixel_size_m."
    )
    raise DataFormatError(msg)


def _require_pixels(path: Path, positions: Positions, corners: FloatArray, dx: float, N: int) -> None:
    """Refuse positions whose unit cannot be what it is said to be."""
    span = float(np.ptp(corners, axis=0).max()) if len(corners) else 0.0
    spacing = span / max(1.0, math.sqrt(len(corners)))
    is_small = span < _LEAST_SPAN_PX or spacing < _LEAST_SPACING_PX
    if len(corners) < 2 or not (is_small or span > N * len(corners)):
        return
    held = float(np.ptp(positions.values, axis=0).max())
    said = f"span {held:.4g} {positions.unit}" + (f", with an object pixel of {dx:.4g} m" * (positions.unit == METRES))
    msg = (
        f"positions in {path} {said}: {span:.3g} px for {len(corners)} patterns of {N} px; expected steps of about "
        "0.1 to 100 px. Their unit, the energy, the distance or the detector pixel is wrong: name the unit in a map "
        "(positions: unit: um), or give --energy_eV, --detector_distance_m, --detector_pixel_m or --scan_step_m."
    )
    raise DataFormatError(msg)
