"""Reader of DECTRIS masters (Eiger, Arina) with the files of their frames.

A master has no positions: a text file has them (``positions_file``), or the file of the microscope beside an Arina
master. Where a scan map fits (:mod:`ptycho_dist.data.maps`), that opens the master.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ptycho_dist.data.formats.base import NAN, BoolArray, PatternSource, RawScan, ScanOptions
from ptycho_dist.data.formats.chosen_frames import chosen
from ptycho_dist.data.formats.companion_files import is_companion
from ptycho_dist.data.formats.hdf5_frames import JoinedFrames, h5_frames
from ptycho_dist.data.formats.hdf5_links import (
    MissingFileError,
    load_array,
    load_attributes,
    locate,
    members,
    require_place,
)
from ptycho_dist.data.formats.hdf5_numbers import ENERGIES_EV, LENGTHS_M, attribute_number, number
from ptycho_dist.data.formats.measurement import Geometry, Measurement, Positions, as_valid
from ptycho_dist.data.formats.no_scan import register_no_scan
from ptycho_dist.data.formats.object_pixel import energy_of
from ptycho_dist.data.formats.prepare import grown, raw_scan_of
from ptycho_dist.data.formats.registry import register_format
from ptycho_dist.data.formats.stem import StemCube, open_cube
from ptycho_dist.data.formats.text_positions import (
    JoinedRows,
    TextPositions,
    first_frames,
    join_frames,
    read_positions,
    split_positions_file,
)
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import IntArray

NAME = "dectris"
DETECTOR = "entry/instrument/detector"
_SPECIFIC = f"{DETECTOR}/detectorSpecific"
_MOST_FRAMES = 1 << 40
_MICROSCOPE = "STEM Metadata"
_WAVELENGTHS = ("entry/instrument/beam/incident_wavelength", "entry/sample/beam/incident_wavelength")


@dataclass(frozen=True, kw_only=True)
class _Frames:
    """Frames that are there, and their numbers among those that were announced."""

    source: PatternSource
    numbers: IntArray
    companions: tuple[Path, ...]
    said: tuple[str, ...]


def detect(keys: Collection[str]) -> bool:
    """Tell whether an HDF5 file is a master: frames in data_000001 and so on, and what the detector was set to."""
    return "entry/data/data_000001" in keys and DETECTOR in keys


def open_growing(path: Path, options: ScanOptions, known: RawScan | None) -> RawScan:
    """Open what there is of a master whose files of frames appear one after the other, with positions of a text file.

    Raises
    ------
    DataFormatError
        If there is no frame with a position yet, or no file of positions is named.
    """
    if options.positions_file is None:
        msg = f"{path} is a DECTRIS master, which has no positions; expected a text file. Give --positions_file FILE."
        raise DataFormatError(msg)
    frames, positions = _frames(path, is_growing=True), read_positions(options.positions_file)
    count = len(frames.numbers)
    joined = (
        first_frames(count, positions) if positions.numbers is None else join_frames(path, frames.numbers, positions)
    )
    if known is None:
        raw = raw_scan_of(path, _measured(path, options, frames, positions, joined), options)
    else:
        values = positions.values_m[joined.positions]
        raw = grown(path, known, chosen(frames.source, joined.frames), Positions(values=values))
    after = 0 if not len(joined.frames) else int(joined.frames[-1]) + 1
    return replace(raw, n_unplaced=count - after, n_announced=_announced(path) or _MOST_FRAMES)


@register_format(
    NAME, container="hdf5", keys=("entry/data/data_000001", DETECTOR), detect=detect, open_growing=open_growing
)
def open_raw(path: Path, options: ScanOptions) -> RawScan:
    """Open a master with its frames and the positions of another file.

    Raises
    ------
    DataFormatError
        If no frame or no position is there, or what is there is damaged.
    """
    frames = _frames(path)
    microscope = path.with_name(f"{path.stem.removesuffix('_master')}{path.suffix}")
    if options.positions_file is None and _is_microscope(path, microscope):
        return open_cube(path, NAME, _raster(path, frames, microscope), options)
    if options.positions_file is None and (options.scan_step_m is not None or options.scan_shape is not None):
        return open_cube(path, NAME, _cube(path, frames), options)
    if options.positions_file is None:
        msg = (
            f"{path} is a DECTRIS master with {frames.source.shape[0]} frames of {frames.source.shape[1]} x "
            f"{frames.source.shape[2]} pixels and no positions; expected those in another file. Give --positions_file "
            "FILE (text whose first line names columns, such as index,x_um,y_um), or a --map; of a raster of "
            "electrons --scan_shape and --scan_step_m."
        )
        raise DataFormatError(msg)
    positions = read_positions(options.positions_file)
    joined = join_frames(path, frames.numbers, positions)
    return raw_scan_of(path, _measured(path, options, frames, positions, joined), options)


def _measured(
    path: Path, options: ScanOptions, frames: _Frames, positions: TextPositions, joined: JoinedRows
) -> Measurement:
    """Put frames and positions of the same rows together."""
    assert options.positions_file is not None
    return Measurement(
        format_name=NAME,
        frames=chosen(frames.source, joined.frames),
        positions=Positions(values=positions.values_m[joined.positions]),
        geometry=_geometry(path),
        mask=_mask(path),
        beam_center_px=_centre(path),
        companions=(*frames.companions, split_positions_file(options.positions_file)[0]),
        conversions=(*frames.said, *positions.said, *joined.said),
    )


def _frames(path: Path, *, is_growing: bool = False) -> _Frames:
    """Join the frames of all files that are there; links to files that were never written are passed over.

    Of a master that is still written, the files up to the first that is not whole.
    """
    sources: list[PatternSource] = []
    numbers: list[IntArray] = []
    files: list[Path] = []
    absent: list[str] = []
    count = 0
    for name in sorted(one for one in members(path, "entry/data") if one.startswith("data_")):
        key = f"entry/data/{name}"
        try:
            place = require_place(path, key)
            source, companions = h5_frames(path, key)
        except MissingFileError:
            absent.append(name)
            if is_growing:
                break
            continue
        except DataFormatError:
            if is_growing and sources:
                break
            raise
        first = attribute_number(place.path, load_attributes(place.path, place.key), "image_nr_low")
        start = int(first) - 1 if 1 <= first < _MOST_FRAMES else count
        numbers.append(np.arange(start, start + source.shape[0]))
        count = start + source.shape[0]
        sources.append(source)
        files += companions
    if not sources:
        msg = (
            f"{path} is a DECTRIS master, and none of the files of frames that it links to ({', '.join(absent[:4])}) "
            "is beside it; expected them in its folder. Copy them there."
        )
        raise DataFormatError(msg)
    joined = JoinedFrames(sources) if len(sources) > 1 else sources[0]
    said = [f"patterns: {joined.shape[0]} in {len(sources)} files"]
    announced = _announced(path)
    if absent or announced > joined.shape[0]:
        gone = f"; {', '.join(absent)} not there" if absent else ""
        said.append(f"patterns: {max(announced, joined.shape[0])} announced, {joined.shape[0]} there{gone}")
    return _Frames(
        source=joined, numbers=np.concatenate(numbers), companions=tuple(dict.fromkeys(files)), said=tuple(said)
    )


def _announced(path: Path) -> int:
    images, triggers = (number(path, f"{_SPECIFIC}/{key}") for key in ("nimages", "ntrigger"))
    product = np.nan_to_num(images, nan=1.0) * np.nan_to_num(triggers, nan=1.0)
    return int(product) if np.isfinite(product) else 0


def _geometry(path: Path) -> Geometry:
    energy = number(path, f"{_SPECIFIC}/photon_energy", ENERGIES_EV, "ev")
    wavelength = number(path, _WAVELENGTHS, LENGTHS_M, "angstrom")
    distance = number(path, (f"{DETECTOR}/detector_distance", f"{DETECTOR}/distance"), LENGTHS_M, "m")
    sizes = [_known(number(path, f"{DETECTOR}/{axis}_pixel_size", LENGTHS_M, "m")) for axis in "yx"]
    return Geometry(
        energy_eV=energy if energy > 0 else energy_of(wavelength) if wavelength > 0 else NAN,
        detector_distance_m=_known(distance),
        detector_pixel_m=(sizes[0], sizes[1]),
    )


def _known(value: float) -> float:
    """Return a number, NaN in place of the 0 that is written where nobody entered it."""
    return value if value != 0 else NAN


def _centre(path: Path) -> tuple[float, float] | None:
    y, x = (number(path, f"{DETECTOR}/beam_center_{axis}") for axis in "yx")
    return (y, x) if y > 0 and x > 0 else None


def _mask(path: Path) -> BoolArray | None:
    key = f"{_SPECIFIC}/pixel_mask"
    return as_valid(load_array(path, key), nonzero_is_bad=True) if locate(path, key) is not None else None


def _is_microscope(path: Path, beside: Path) -> bool:
    return is_companion(path, beside) and locate(beside, _MICROSCOPE) is not None


def _raster(path: Path, frames: _Frames, microscope: Path) -> StemCube:
    """Frames of an Arina with what the microscope has noted beside them."""
    noted = load_attributes(microscope, _MICROSCOPE)

    def value(name: str) -> float:
        return attribute_number(microscope, noted, name)

    lines, in_line, step = value("NumPixelsY"), value("NumPixelsX"), value("Pixel Size") * 1e-9
    pixel, length = number(path, f"{DETECTOR}/y_pixel_size", LENGTHS_M, "m"), value("Camera Length")
    said = "angle of a pixel: from the nominal camera length; give --angle_per_pixel_rad where it is calibrated"
    cube = _cube(path, frames)
    return StemCube(
        frames=cube.frames,
        scan_shape=(int(lines), int(in_line)) if lines > 0 and in_line > 0 else None,
        step_m=(step, step),
        energy_eV=value("High Tension"),
        angle_per_pixel_rad=pixel / length if pixel > 0 and length > 0 else NAN,
        mask=cube.mask,
        beam_center_px=cube.beam_center_px,
        companions=(*cube.companions, microscope),
        conversions=(*cube.conversions, said),
    )


def _cube(path: Path, frames: _Frames) -> StemCube:
    return StemCube(
        frames=frames.source,
        scan_shape=None,
        energy_eV=_geometry(path).energy_eV,
        mask=_mask(path),
        beam_center_px=_centre(path),
        companions=frames.companions,
        conversions=frames.said,
    )


@register_no_scan("dectris_data_file", container="hdf5")
def _data_file(path: Path, keys: Collection[str]) -> str | None:
    is_part = "entry/data/data" in keys and len(keys) == 1 and "entry/instrument" not in keys
    if not is_part:
        return None
    return (
        "frames without positions or geometry, such as the data file of a DECTRIS master; expected the master. Give "
        "X_master.h5, or a map that says where the rest is (--map)."
    )


@register_no_scan("arina_microscope", container="hdf5")
def _microscope_file(path: Path, keys: Collection[str]) -> str | None:
    if _MICROSCOPE not in keys:
        return None
    return f"what the microscope noted of an Arina scan; expected the master. Give {path.stem}_master{path.suffix}."
