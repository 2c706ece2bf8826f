"""What a map names in a scan's files, brought to a measurement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.data.adjust import SelectedRows
from ptycho_dist.data.formats import measurement as core
from ptycho_dist.data.formats.base import BoolArray, ComplexArray, PatternSource, Turn
from ptycho_dist.data.formats.corrections import mean_image, monitor_scale
from ptycho_dist.data.formats.growing_rows import first_rows
from ptycho_dist.data.formats.hdf5_links import load_array, load_attributes, locate
from ptycho_dist.data.formats.object_pixel import energy_of
from ptycho_dist.data.maps.parts import parts_of
from ptycho_dist.data.maps.placing import place
from ptycho_dist.data.maps.schema import Mask, Patterns, Quantity, ScanMap, Transform, Where
from ptycho_dist.data.maps.units import ANGLE, ENERGY, FREQUENCY, LENGTH
from ptycho_dist.data.maps.values import Files, first_there, is_in_pixels, is_there, number, plain_numbers
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray, IntArray

_MATLAB_MARK = "MATLAB_class"
"""Attribute of each dataset that MATLAB writes."""
_LIGHT_M, _ELECTRON_M = 1e-7, 1e-11
"""Wavelengths from which on radiation is light, and below which it is electrons."""


def measurement_of(path: Path, scan_map: ScanMap, *, is_growing: bool = False) -> core.Measurement:
    """Read what a map says of a scan.

    Parameters
    ----------
    path
        The scan file.
    scan_map
        The map.
    is_growing
        Whether the scan is still measured, so that y and x of the positions may differ in length.

    Raises
    ------
    DataFormatError
        If something that is needed is not there, or is not what the map says.
    """
    files = Files(path, scan_map.stem_ends)
    _require_scan(files, scan_map)
    chosen, parts = parts_of(files, scan_map)
    source = parts.joined()
    placed = place(files, scan_map.positions, parts, is_growing=is_growing)
    rows, positions, cut = _selected(path, scan_map, source.shape[0], placed.rows, placed.positions)
    geometry = _geometry(files, scan_map)
    transform = scan_map.transform
    found = core.Measurement(
        format_name=f"map {scan_map.name}",
        frames=source if rows is None else SelectedRows(source, rows),
        positions=positions,
        geometry=geometry,
        kind=chosen.kind,
        is_corner=chosen.zero_frequency == "corner",
        mask=_mask(files, scan_map.mask, source.shape[1:]),
        dead_values=scan_map.dead_values,
        correction=_correction(files, scan_map, source, rows),
        turn=_turn(files, transform),
        beam_center_px=_beam_center(files, scan_map, geometry),
        crop_px=transform.crop_px,
        binning=transform.binning,
        hot_pixel_ratio=transform.hot_pixel_ratio,
        probe=_probe(files, scan_map.probe),
        companions=tuple(files.used),
        conversions=(f"read by the map {scan_map.name}", *parts.said(), *placed.said, *cut, *files.notes),
    )
    return _in_matlab_order(found) if _is_by_matlab(files, chosen) else found


def growing_measurement_of(path: Path, scan_map: ScanMap) -> tuple[core.Measurement, int]:
    """Read what a map says of a scan that is still measured: of all that grows, the rows that are everywhere.

    A monitor is left aside, for its mean is that of the whole scan.

    Returns
    -------
    Measurement
        Of these rows.
    int
        Frames that have no position yet.

    Raises
    ------
    DataFormatError
        If there is no whole row yet, or something is not as the map says.
    """
    found = measurement_of(path, scan_map.model_copy(update={"monitor": ()}), is_growing=True)
    count = first_rows(path, found.frames.shape[0], found.positions.values)
    positions = replace(found.positions, values=found.positions.values[:count])
    rows = SelectedRows(found.frames, np.arange(count))
    return replace(found, frames=rows, positions=positions), found.frames.shape[0] - count


def _is_by_matlab(files: Files, chosen: Patterns) -> bool:
    """Tell whether MATLAB wrote the frames, which reverses their axes; a map that names axes knows how they are."""
    path = next(iter(files.matching(chosen.file)), None)
    if path is None or chosen.path is None or chosen.axes is not None or locate(path, chosen.path) is None:
        return False
    return _MATLAB_MARK in load_attributes(path, chosen.path)


def _in_matlab_order(found: core.Measurement) -> core.Measurement:
    """Exchange rows and columns of frames and probe, as they were in MATLAB."""
    turn = replace(found.turn, transpose=not found.turn.transpose)
    probe = None if found.probe is None else np.swapaxes(found.probe, -2, -1)
    said = "patterns: rows and columns exchanged, for MATLAB wrote them"
    return replace(found, turn=turn, probe=probe, conversions=(*found.conversions, said))


def _require_scan(files: Files, scan_map: ScanMap) -> None:
    for one in scan_map.refuse:
        if is_there(files, Where(path=one.path)):
            msg = f"{files.path} is no scan for the map {scan_map.name}: {one.because} (it has {one.path!r})."
            raise DataFormatError(msg)


def _selected(
    path: Path, scan_map: ScanMap, n_frames: int, rows: IntArray | None, positions: core.Positions
) -> tuple[IntArray | None, core.Positions, list[str]]:
    """Keep the frames that the map names; ``positions`` are those of ``rows``."""
    keep, drop = scan_map.frames.keep, scan_map.frames.drop
    own = np.arange(n_frames) if rows is None else rows
    if (keep is None and drop is None) or len(positions.values) != len(own):
        return rows, positions, []
    kept = np.ones(n_frames, np.bool_) if keep is None else _named(path, keep, n_frames)
    kept &= True if drop is None else ~_named(path, drop, n_frames)
    stays = kept[own]
    if not stays.any():
        msg = f"the map leaves none of the {n_frames} frames in {path}; expected some. Change frames: keep: or drop:."
        raise DataFormatError(msg)
    chosen = core.Positions(values=positions.values[stays], unit=positions.unit, refer_to=positions.refer_to)
    return own[stays], chosen, [f"patterns: {int(stays.sum())} of {len(own)} taken, as the map says"]


def _named(path: Path, text: str, n_frames: int) -> BoolArray:
    named = ScanOptions(drop_frames=text).frames_to_drop()
    if named[-1] >= n_frames:
        msg = f"the map names frame {named[-1]}, but {path} holds {n_frames}; expected numbers below. Change frames:."
        raise DataFormatError(msg)
    found = np.zeros(n_frames, np.bool_)
    found[list(named)] = True
    return found


def _turn(files: Files, transform: Transform) -> Turn:
    """How frames lie to the positions, as the map says, or as a number in the file does."""
    where = transform.orientation
    path = files.one(where) if where is not None and is_there(files, where) else None
    if where is None or path is None:
        return Turn.of(transform)
    number_ = plain_numbers(path, where, "orientation").ravel()[0]
    if number_ not in range(8):
        msg = (
            f"orientation in {files.path} is {number_:g}; expected a whole number from 0 to 7. Leave it out of the map."
        )
        raise DataFormatError(msg)
    bits = int(number_)
    return Turn(transpose=bool(bits & 4), flip_rows=bool(bits & 2), flip_columns=bool(bits & 1))


def _geometry(files: Files, scan_map: ScanMap) -> core.Geometry:
    energy = number(files, scan_map.energy, ENERGY, "energy")
    wavelength = number(files, scan_map.wavelength, LENGTH, "wavelength")
    radiation: str = scan_map.radiation
    if radiation == "auto":
        radiation = core.XRAY
        if math.isfinite(wavelength):
            radiation = core.LIGHT if wavelength > _LIGHT_M else radiation
            radiation = core.ELECTRON if 0 < wavelength < _ELECTRON_M else radiation
    if not math.isfinite(energy) and wavelength > 0:
        energy = energy_of(wavelength, radiation)
    distance = number(files, scan_map.distance, LENGTH, "distance")
    pixel = number(files, scan_map.detector_pixel, LENGTH, "detector_pixel")
    return core.Geometry(
        radiation=radiation,
        energy_eV=energy,
        detector_distance_m=abs(distance),
        detector_pixel_m=(pixel, pixel),
        pixel_size_m=number(files, scan_map.pixel_size, LENGTH, "pixel_size"),
        angle_per_pixel_rad=number(files, scan_map.angle_per_pixel, ANGLE, "angle_per_pixel"),
        per_metre_per_pixel=number(files, scan_map.frequency_per_pixel, FREQUENCY, "frequency_per_pixel"),
    )


def _beam_center(files: Files, scan_map: ScanMap, geometry: core.Geometry) -> tuple[float, float] | None:
    for pair in scan_map.beam_center:
        sizes = geometry.detector_pixel_m
        found = [_center(files, axis, pixel) for axis, pixel in ((pair.y, sizes[0]), (pair.x, sizes[1]))]
        if all(math.isfinite(one) for one in found) and any(found):
            return found[0], found[1]
    return None


def _center(files: Files, quantities: Sequence[Quantity], pixel_m: float) -> float:
    """Beam centre along one axis in pixels; NaN where it is not there, or a length and no pixel size is known."""
    one, value = first_there(files, quantities), number(files, quantities, LENGTH, "beam_center")
    if one is not None and is_in_pixels(files, one):
        return value
    return value / pixel_m if pixel_m > 0 else math.nan


def _mask(files: Files, alternatives: Sequence[Mask], shape: tuple[int, ...]) -> BoolArray | None:
    chosen = next((one for one in alternatives if is_there(files, one)), None)
    if chosen is None:
        return None
    path = files.one(chosen)
    assert path is not None
    values = plain_numbers(files.use(path), chosen, "mask")
    good: BoolArray = core.as_valid(values, nonzero_is_bad=chosen.nonzero == "bad")
    good = np.asarray(good | np.isin(values, chosen.good_values))
    good = np.asarray(good.all(axis=tuple(range(good.ndim - 2)))) if good.ndim > 2 else good
    if good.shape != shape:
        msg = f"the mask at {chosen.path!r} in {path} has shape {good.shape}, the frames {shape}; expected equal ones. "
        raise DataFormatError(msg + "Name another mask in the map, or leave it out.")
    return good


def _correction(files: Files, scan_map: ScanMap, source: PatternSource, rows: IntArray | None) -> core.Correction:
    dark, flat = (
        _image(files, one, source.shape[1:], name) for one, name in ((scan_map.dark, "dark"), (scan_map.flat, "flat"))
    )
    return core.Correction(dark=dark, flat=flat, scale=_scale(files, scan_map.monitor, source.shape[0], rows))


def _image(files: Files, alternatives: Sequence[Quantity], shape: tuple[int, ...], name: str) -> FloatArray | None:
    """Load a dark or flat (H, W); of several frames their mean."""
    chosen = first_there(files, alternatives)
    if chosen is None:
        return None
    path = files.one(chosen)
    values = np.full(shape, float(chosen.value or 0.0)) if path is None or chosen.value is not None else None
    if values is None and path is not None:
        values = plain_numbers(files.use(path), chosen, name)
    assert values is not None
    return mean_image(values, shape, f"the {name} of {files.path}", "Name another in the map, or leave it out.")


def _scale(files: Files, alternatives: Sequence[Quantity], n_frames: int, rows: IntArray | None) -> FloatArray | None:
    """Factor of each frame by a monitor: its mean over its value."""
    chosen = first_there(files, alternatives)
    path = None if chosen is None else files.one(chosen)
    if chosen is None or path is None:
        return None
    values = plain_numbers(files.use(path), chosen, "monitor")
    return monitor_scale(values, n_frames, rows, f"the monitor in {path}", "Leave it out of the map.")


def _probe(files: Files, alternatives: Sequence[Quantity]) -> ComplexArray | None:
    """Load the probe modes; of several coherent ones the first."""
    chosen = first_there(files, alternatives)
    path = None if chosen is None or chosen.path is None else files.one(chosen)
    if chosen is None or chosen.path is None or path is None:
        return None
    values = as_complex(load_array(files.use(path), chosen.path))
    if not values.size:
        msg = (
            f"the probe at {chosen.path!r} in {path} has shape {values.shape}; expected modes. Leave it out of the map."
        )
        raise DataFormatError(msg)
    while values.ndim > 3:
        values = values[0]
    return values


def as_complex(values: NDArray[Any]) -> ComplexArray:
    """Return complex numbers, which MATLAB stores as pairs named real and imag."""
    if values.dtype.kind not in "iufcb" and values.dtype.names is None:
        msg = f"the probe is {values.dtype} of shape {values.shape}; expected complex numbers. Leave it out of the map."
        raise DataFormatError(msg)
    if values.dtype.names is not None and {"real", "imag"} <= set(values.dtype.names):
        return np.asarray(values["real"] + 1j * values["imag"], np.complex64)
    return values.astype(np.complex64)
