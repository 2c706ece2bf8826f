"""Scans with an electron probe (4D-STEM): a raster of positions, and the detector in angles or spatial frequencies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptycho_dist.data.formats.base import NAN, BoolArray, PatternSource, RawScan, ScanOptions
from ptycho_dist.data.formats.measurement import ELECTRON, Geometry, Measurement, Positions
from ptycho_dist.data.formats.prepare import raw_scan_of
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray


@dataclass(frozen=True, kw_only=True)
class StemCube:
    """Frames of a raster as a file has them.

    Parameters
    ----------
    frames
        Raw rows (B, H, W), line by line.
    scan_shape
        Lines, and frames in a line; None where the file does not say.
    step_m
        Step (between lines, in a line) in metres; NaN where unknown.
    energy_eV
        Of the electrons; NaN where unknown.
    angle_per_pixel_rad, per_metre_per_pixel
        One of them says what a detector pixel is; both NaN where unknown.
    mask, beam_center_px
        As of :class:`~.measurement.Measurement`.
    companions, conversions
        Other files, and what was done, in words.
    """

    frames: PatternSource
    scan_shape: tuple[int, int] | None
    step_m: tuple[float, float] = (NAN, NAN)
    energy_eV: float = NAN
    angle_per_pixel_rad: float = NAN
    per_metre_per_pixel: float = NAN
    mask: BoolArray | None = None
    beam_center_px: tuple[float, float] | None = None
    companions: tuple[Path, ...] = ()
    conversions: tuple[str, ...] = ()


def open_cube(path: Path, name: str, cube: StemCube, options: ScanOptions) -> RawScan:
    """Make a scan of a raster of frames; the y axis runs along the lines' order, x along a line.

    Parameters
    ----------
    path, name
        The file, and its reader.
    cube
        What the file has.
    options
        What the user says: ``scan_shape``, ``scan_step_m``, ``angle_per_pixel_rad``, ``energy_eV`` complete it; the
        step also replaces that of the file.

    Raises
    ------
    DataFormatError
        If shape, step, or the size of a detector pixel is not known, or cannot be so.
    """
    shape = _shape(path, cube, options)
    step = (options.scan_step_m,) * 2 if options.scan_step_m is not None else cube.step_m
    if not all(one > 0 and math.isfinite(one) for one in step):
        msg = f"{path} holds {shape[0]} x {shape[1]} frames of a raster, but not its step; expected it. "
        raise DataFormatError(msg + "Give --scan_step_m.")
    found = Measurement(
        format_name=name,
        frames=cube.frames,
        positions=Positions(values=raster(shape, (float(step[0]), float(step[1])))),
        geometry=_geometry(path, cube, options),
        mask=cube.mask,
        beam_center_px=cube.beam_center_px,
        companions=cube.companions,
        conversions=(
            *cube.conversions,
            f"positions: raster of {shape[0]} lines of {shape[1]}, step {step[0] * 1e9:.5g} nm",
        ),
    )
    return raw_scan_of(path, found, options)


def raster(shape: tuple[int, int], step_m: tuple[float, float]) -> FloatArray:
    """Return the positions (y, x) in metres of a raster, line by line, float64 (B, 2)."""
    y, x = np.indices(shape, dtype=np.float64).reshape(2, -1)
    return np.stack([y * step_m[0], x * step_m[1]], axis=1)


def _shape(path: Path, cube: StemCube, options: ScanOptions) -> tuple[int, int]:
    count, (height, width) = cube.frames.shape[0], cube.frames.shape[1:]
    said = options.scan_shape
    shape = cube.scan_shape if said is None else (int(said[0]), int(said[1]))
    if shape is None:
        msg = f"{path} holds {count} frames of {height} x {width} pixels, but not how many a line of the raster has; "
        raise DataFormatError(msg + "expected it. Give --scan_shape [LINES,FRAMES].")
    if shape[0] * shape[1] != count:
        msg = (
            f"{path} holds {count} frames, but the raster has {shape[0]} lines of {shape[1]}; expected as many. Give "
            "--scan_shape [LINES,FRAMES] of what is there."
        )
        raise DataFormatError(msg)
    return shape


def _geometry(path: Path, cube: StemCube, options: ScanOptions) -> Geometry:
    angle = cube.angle_per_pixel_rad
    if not math.isfinite(cube.per_metre_per_pixel) and not angle > 0:
        angle = options.angle_per_pixel_rad or NAN
        if not angle > 0 and options.pixel_size_m is None:
            msg = f"{path} does not say the angle of a detector pixel; expected it, for it gives the object pixel. "
            raise DataFormatError(msg + "Give --angle_per_pixel_rad and --energy_eV, or --pixel_size_m.")
    return Geometry(
        radiation=ELECTRON,
        energy_eV=cube.energy_eV,
        angle_per_pixel_rad=angle,
        per_metre_per_pixel=cube.per_metre_per_pixel,
    )
