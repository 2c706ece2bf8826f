"""Readers of 4D-STEM in HDF5: py4DSTEM (EMD 1.0 and older), Prismatic, HyperSpy and fpd."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_dist.data.formats.base import NAN, RawScan, ScanOptions
from ptycho_dist.data.formats.hdf5_frames import COLUMN, FRAME, ROW, h5_frames
from ptycho_dist.data.formats.hdf5_links import load_array, load_attributes, locate, members, shape_of
from ptycho_dist.data.formats.hdf5_numbers import attribute_number, attribute_text, number
from ptycho_dist.data.formats.no_scan import register_no_scan
from ptycho_dist.data.formats.registry import register_format
from ptycho_dist.data.formats.stem import StemCube, open_cube
from ptycho_dist.data.formats.stem_units import Axis, frequency_or_angle, length_m
from ptycho_dist.errors import DataFormatError

_FPD = "fpd_expt/fpd_data"
_OLD = "4DSTEM_experiment/data/datacubes/datacube_0"
_SIMULATED = "4DSTEM_simulation/data/datacubes"
_PARAMETERS = "4DSTEM_simulation/metadata/metadata_0/original/simulation_parameters"
_EXPERIMENTS = "Experiments"


@register_format("fpd", container="hdf5", keys=("fpd_expt", f"{_FPD}/data"), detect=lambda keys: f"{_FPD}/data" in keys)
def open_fpd(path: Path, options: ScanOptions) -> RawScan:
    """Open a file of fpd: (scan y, scan x, colour, row, column); of several colours the first.

    Raises
    ------
    DataFormatError
        If it is damaged, or its step or the angle of a pixel is known neither from it nor from the options.
    """
    shape = _shape(path, f"{_FPD}/data", (4, 5))
    axes = (FRAME, FRAME, 0, ROW, COLUMN) if len(shape) == 5 else (FRAME, FRAME, ROW, COLUMN)
    frames, companions = h5_frames(path, f"{_FPD}/data", axes)
    found = [_axis(path, f"{_FPD}/dim{number_}") for number_ in (1, 2, len(shape) - 1, len(shape))]
    return open_cube(path, "fpd", _cube(path, found, (frames, shape[:2], companions)), options)


@register_format("py4dstem_old", container="hdf5", keys=(f"{_OLD}/data",), detect=lambda keys: f"{_OLD}/data" in keys)
def open_old(path: Path, options: ScanOptions) -> RawScan:
    """Open a file of py4DSTEM before 0.14: (scan y, scan x, row, column).

    Raises
    ------
    DataFormatError
        As :func:`open_fpd`.
    """
    return _open_four(path, _OLD, "py4dstem_old", options)


@register_format("prismatic", container="hdf5", keys=(_SIMULATED,), detect=lambda keys: _SIMULATED in keys)
def open_prismatic(path: Path, options: ScanOptions) -> RawScan:
    """Open a simulation of Prismatic; of several depths the last, which is the exit.

    Raises
    ------
    DataFormatError
        As :func:`open_fpd`.
    """
    names = sorted(name for name in members(path, _SIMULATED) if name.startswith("CBED_array"))
    if not names:
        msg = f"{path} is a simulation of Prismatic without 4-D output; expected it. Simulate with save 4D output."
        raise DataFormatError(msg)
    key = f"{_SIMULATED}/{names[-1]}"
    shape = _shape(path, f"{key}/datacube", (4,))
    frames, companions = h5_frames(path, f"{key}/datacube", (FRAME, FRAME, ROW, COLUMN))
    axes = [_in_angstrom(_axis(path, f"{key}/dim{one}")) for one in (1, 2, 3, 4)]
    said = (f"patterns: depth {len(names)} of {len(names)}", "axes: in angstrom, which Prismatic names n_m")
    energy = (
        attribute_number(path, load_attributes(path, _PARAMETERS), "E")
        if locate(path, _PARAMETERS) is not None
        else NAN
    )
    cube = _cube(path, axes, (frames, shape[:2], companions), energy * 1e3, said)
    return open_cube(path, "prismatic", cube, options)


@register_format("hyperspy", container="hdf5", keys=(_EXPERIMENTS,), detect=lambda keys: _EXPERIMENTS in keys)
def open_hyperspy(path: Path, options: ScanOptions) -> RawScan:
    """Open the first 4-D signal of a HyperSpy file: two axes of navigation, two of the signal.

    Raises
    ------
    DataFormatError
        If it has no 4-D signal; else as :func:`open_fpd`.
    """
    names = members(path, _EXPERIMENTS)
    shapes = {name: shape_of(path, f"{_EXPERIMENTS}/{name}/data") for name in names}
    found = [name for name, one in shapes.items() if one is not None and len(one[0]) == 4]
    if not found:
        seen = ", ".join(f"{name} {one[0]}" for name, one in shapes.items() if one is not None) or "nothing"
        msg = (
            f"{path} is a HyperSpy file of {seen}: no 4-D signal, so no scan of patterns; expected two axes "
            "of navigation and two of the detector. Give the file of the 4D-STEM signal."
        )
        raise DataFormatError(msg)
    key = f"{_EXPERIMENTS}/{found[0]}"
    attributes = [load_attributes(path, f"{key}/axis-{one}") for one in range(4)]
    navigates = [str(one.get("navigate")) == "True" for one in attributes]
    order = [n for n, is_scan in enumerate(navigates) if is_scan] + [
        n for n, is_scan in enumerate(navigates) if not is_scan
    ]
    if sum(navigates) != 2:
        msg = f"{found[0]!r} in {path} has {sum(navigates)} axes of navigation; expected 2. Set navigate of its axes."
        raise DataFormatError(msg)
    axes = [_of_hyperspy(path, attributes[one]) for one in order]
    names_of = {order[0]: FRAME, order[1]: FRAME, order[2]: ROW, order[3]: COLUMN}
    frames, companions = h5_frames(path, f"{key}/data", tuple(names_of[one] for one in range(4)))
    shape = _shape(path, f"{key}/data", (4,))
    tem = f"{key}/metadata/Acquisition_instrument/TEM"
    energy = attribute_number(path, load_attributes(path, tem), "beam_energy") if locate(path, tem) is not None else NAN
    raster = (shape[order[0]], shape[order[1]])
    return open_cube(path, "hyperspy", _cube(path, axes, (frames, raster, companions), energy * 1e3), options)


def _has_datacube(keys: Collection[str]) -> bool:
    return any(f"{root}/metadatabundle" in keys or f"{root}/datacube/data" in keys for root in keys)


@register_format("py4dstem", container="hdf5", keys=("datacube_root/datacube/data",), detect=_has_datacube)
def open_py4dstem(path: Path, options: ScanOptions) -> RawScan:
    """Open a datacube of py4DSTEM (EMD 1.0): (scan y, scan x, row, column).

    Raises
    ------
    DataFormatError
        If it has no datacube; else as :func:`open_fpd`.
    """
    for root in members(path, ""):
        for name in members(path, root):
            key = f"{root}/{name}"
            found = shape_of(path, f"{key}/data")
            if found is not None and len(found[0]) == 4:
                return _open_four(path, key, "py4dstem", options)
    msg = f"{path} is an EMD file without a 4-D datacube; expected one. Save the DataCube of py4DSTEM."
    raise DataFormatError(msg)


@register_no_scan("emd_without_datacube", container="hdf5")
def _emd(path: Path, keys: Collection[str]) -> str | None:
    if attribute_text(load_attributes(path, ""), "authoring_program") != "emdfile":
        return None
    return "an EMD file without a 4-D datacube; expected one. Save the DataCube of py4DSTEM."


def _open_four(path: Path, key: str, name: str, options: ScanOptions) -> RawScan:
    shape = _shape(path, f"{key}/data", (4,))
    frames, companions = h5_frames(path, f"{key}/data", (FRAME, FRAME, ROW, COLUMN))
    first = 0 if locate(path, f"{key}/dim0") is not None else 1
    axes = [_axis(path, f"{key}/dim{first + one}") for one in range(4)]
    flip = f"{key.split('/')[0]}/metadatabundle/calibration/QR_flip"
    flips = number(path, flip) == 1
    said = ("patterns: the file says QR_flip, so transpose them if the object looks wrong (--transpose)",) * flips
    return open_cube(path, name, _cube(path, axes, (frames, shape[:2], companions), said=said), options)


def _shape(path: Path, key: str, ndim: tuple[int, ...]) -> tuple[int, ...]:
    found = shape_of(path, key)
    if found is None or len(found[0]) not in ndim:
        msg = f"{key!r} in {path} has shape {None if found is None else found[0]}; expected {ndim[-1]} axes: scan and "
        raise DataFormatError(msg + "detector. Give the file of the 4D-STEM scan.")
    return found[0]


def _cube(
    path: Path, axes: list[Axis], parts: tuple[Any, ...], energy_eV: float = NAN, said: tuple[str, ...] = ()
) -> StemCube:
    """Join frames with four axes: scan y and x, detector rows and columns."""
    frames, scan_shape, companions = parts
    per_metre, angle = frequency_or_angle(path, axes[2], axes[3])
    return StemCube(
        frames=frames,
        scan_shape=(int(scan_shape[0]), int(scan_shape[1])),
        step_m=(length_m(axes[0]), length_m(axes[1])),
        energy_eV=energy_eV,
        angle_per_pixel_rad=angle,
        per_metre_per_pixel=per_metre,
        companions=companions,
        conversions=said,
    )


def _axis(path: Path, key: str) -> Axis:
    """Read an axis of an EMD file: a vector, or just its first two numbers; text where nothing is known."""
    if locate(path, key) is None:
        return Axis()
    values = load_array(path, key)
    if values.dtype.kind not in "iuf" or values.size < 2:
        return Axis()
    numbers = values.ravel().astype(np.float64)
    unit = attribute_text(load_attributes(path, key), "units")
    return Axis(step=float(numbers[1] - numbers[0]), unit=unit)


def _of_hyperspy(path: Path, attributes: dict[str, Any]) -> Axis:
    return Axis(step=attribute_number(path, attributes, "scale"), unit=attribute_text(attributes, "units"))


def _in_angstrom(axis: Axis) -> Axis:
    return Axis(step=axis.step, unit="1/A" if "-1" in axis.unit else "A")
