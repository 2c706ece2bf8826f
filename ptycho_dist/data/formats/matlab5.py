"""Reader of MATLAB files before 7.3, through scipy: names of PtychoShelves, PtyLab and NSLS-II.

MATLAB 7.3 is HDF5, and is read by the maps of these programs.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats import checks
from ptycho_dist.data.formats.base import NAN, ComplexArray, RawScan, ScanOptions
from ptycho_dist.data.formats.containers import register_container
from ptycho_dist.data.formats.hdf5_numbers import single_number
from ptycho_dist.data.formats.measurement import LIGHT, XRAY, Geometry, Measurement, Positions
from ptycho_dist.data.formats.no_scan import register_no_scan
from ptycho_dist.data.formats.object_pixel import ENERGIES_EV, energy_of
from ptycho_dist.data.formats.prepare import raw_scan_of
from ptycho_dist.data.formats.registry import register_format
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray, IntArray

NAME, CONTAINER = "matlab5", "matlab5"
_HEADER_BYTES = 128
_SIGNATURE = b"MATLAB 5.0 MAT-file"
_FRAMES = ("dp", "ptychogram", "det_data")
_DAMAGE = (ValueError, TypeError, NotImplementedError, KeyError, IndexError, EOFError, zlib.error)
"""What scipy raises for damaged files."""


@dataclass(frozen=True)
class _Stored:
    """Names under which programs store a number, each with its factor to SI units."""

    names: tuple[tuple[str, float], ...]


_WAVELENGTH = _Stored((("lambda", 1.0), ("wavelength", 1.0)))
_ENERGY = _Stored((("energy", 1e3),))
_DISTANCE = _Stored((("zo", 1.0), ("det_dist", 1e-6)))
_DETECTOR_PIXEL = _Stored((("dxd", 1.0), ("det_pixel_size", 1e-6)))
_OBJECT_PIXEL = _Stored((("dx", 1.0),))


@register_container(CONTAINER, holds=lambda path, head: head.startswith(_SIGNATURE))
def names_in(path: Path) -> Collection[str]:
    """List the variables of a MATLAB file before 7.3."""
    _require_whole(path)
    return tuple(name for name, _, _ in variables_in(path))


def variables_in(path: Path) -> list[tuple[str, tuple[int, ...], str]]:
    """List name, shape and class of the variables of a MATLAB file before 7.3.

    Raises
    ------
    DataFormatError
        If it is damaged.
    """
    from scipy.io import whosmat

    with _reading(path):
        return [(name, tuple(shape), kind) for name, shape, kind in whosmat(path)]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what scipy raises of damaged files into DataFormatError; what the system refuses stays."""
    try:
        yield
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise _damaged(path, error) from error


def _require_whole(path: Path) -> None:
    """Refuse a file whose last element ends beyond it; scipy would pass over that.

    Raises
    ------
    DataFormatError
        If it is cut off.
    """
    size, place = path.stat().st_size, _HEADER_BYTES
    with path.open("rb") as stream:
        order = "<" if stream.read(_HEADER_BYTES)[-2:] == b"IM" else ">"
        while place < size:
            stream.seek(place)
            tag = stream.read(8)
            place += 8 + (struct.unpack(f"{order}2I", tag)[1] if len(tag) == 8 else size)
    if place != size:
        raise _damaged(path, f"it has {size} bytes, its variables {place}")


def load(path: Path, name: str) -> NDArray[Any] | None:
    """Load a variable; None where there is none of that name.

    Raises
    ------
    DataFormatError
        If the file is damaged, or the variable is no array of numbers.
    """
    from scipy.io import loadmat

    with _reading(path):
        found = loadmat(path, variable_names=[name], squeeze_me=False).get(name)
    if found is None:
        return None
    values = np.asarray(found)
    if values.dtype.kind not in "iufcb":
        msg = f"{name!r} in {path} is a MATLAB {values.dtype} array; expected numbers. Save it as a plain array."
        raise DataFormatError(msg)
    return values


def _damaged(path: Path, error: Exception | str) -> DataFormatError:
    return DataFormatError(f"{path} is a MATLAB file that cannot be read ({error}); it is damaged. Save it again.")


class MatFrames:
    """Frames of a MATLAB variable, which is loaded whole when a frame is first asked for; can be pickled.

    Parameters
    ----------
    path, name
        The file and the variable.
    shape
        (B, H, W).
    is_last
        Whether the frames are along the last axis, as MATLAB has them; else along the first.
    """

    def __init__(self, path: Path, name: str, shape: tuple[int, int, int], *, is_last: bool) -> None:
        self._path, self._name, self._shape, self._is_last = path, name, shape, is_last
        self._values: NDArray[Any] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(B, H, W)."""
        return self._shape

    def read(self, index: IntArray) -> NDArray[Any]:
        """Return the frames ``index``, shape (len(index), H, W)."""
        if self._values is None:
            values = load(self._path, self._name)
            if values is None or values.ndim != 3:
                msg = f"{self._name!r} is no longer in {self._path}; expected it to stay. Put it back."
                raise DataFormatError(msg)
            self._values = np.moveaxis(values, -1, 0) if self._is_last else values
        return np.array(self._values[index])

    def unwritten(self) -> IntArray:
        """No frames: the file is written whole."""
        return np.empty(0, np.int64)

    def close(self) -> None:
        """Drop the variable."""
        self._values = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_values": None}


def detect(keys: Collection[str]) -> bool:
    """Tell whether a MATLAB file with these variables holds patterns under a name that is known."""
    return any(name in keys for name in _FRAMES)


@register_format(NAME, container=CONTAINER, keys=_FRAMES, detect=detect)
def open_raw(path: Path, options: ScanOptions) -> RawScan:
    """Open a scan in a MATLAB file.

    Raises
    ------
    DataFormatError
        If positions or lengths are missing, or the file is damaged.
    """
    values = _positions(path)
    frames = _frames(path, len(values))
    wavelength, energy = _number(path, _WAVELENGTH), _number(path, _ENERGY)
    energy_eV = energy if energy > 0 else energy_of(wavelength) if wavelength > 0 else NAN
    pixel = _number(path, _DETECTOR_PIXEL)
    spacing = _spacing(path)
    side = pixel if np.isfinite(pixel) else spacing
    found = Measurement(
        format_name=NAME,
        frames=frames,
        positions=Positions(values=checks.checked_positions(path, values, frames.shape[0])),
        geometry=Geometry(
            radiation=LIGHT if energy_eV < ENERGIES_EV[XRAY][0] else XRAY,
            energy_eV=energy_eV,
            detector_distance_m=_number(path, _DISTANCE),
            detector_pixel_m=(side, side),
            pixel_size_m=_number(path, _OBJECT_PIXEL),
        ),
        probe=_probe(path, min(frames.shape[1:])),
        conversions=("patterns: in the order of axes that MATLAB has",),
    )
    return raw_scan_of(path, found, options)


def _number(path: Path, stored: _Stored) -> float:
    for name, scale in stored.names:
        values = load(path, name)
        if values is not None:
            return single_number(path, name, values) * scale
    return NAN


def _spacing(path: Path) -> float:
    """Detector pixel as the spacing of PtyLab's coordinates ``xd``."""
    values = load(path, "xd")
    return NAN if values is None or values.size < 2 else float(np.diff(values.ravel()[:2].astype(np.float64))[0])


def _positions(path: Path) -> FloatArray:
    """Positions (y, x) in metres: ``ppX`` and ``ppY`` negated, or pairs."""
    y, x = load(path, "ppY"), load(path, "ppX")
    if y is not None and x is not None:
        checks.require_equal_lengths(path, ("ppY", y.ravel()), ("ppX", x.ravel()))
        return -np.stack([y.ravel(), x.ravel()], axis=1).astype(np.float64)
    for name, scale, swaps in (("encoder", 1.0, False), ("positions", 1.0, False), ("pos_xy", 1e-6, True)):
        values = load(path, name)
        if values is None:
            continue
        if values.ndim != 2 or 2 not in values.shape:
            msg = f"{name!r} in {path} has shape {values.shape}; expected (B, 2) or (2, B). Save it again."
            raise DataFormatError(msg)
        pairs = (values if values.shape[1] == 2 else values.T).astype(np.float64) * scale
        return pairs[:, ::-1] if swaps else pairs
    msg = (
        f"{path} has patterns and no positions; expected ppX and ppY, encoder, positions or pos_xy. Save it with them."
    )
    raise DataFormatError(msg)


def _frames(path: Path, count: int) -> MatFrames:
    shapes = {name: shape for name, shape, _ in variables_in(path)}
    name = next(one for one in _FRAMES if one in shapes)
    shape = shapes[name]
    is_last = len(shape) == 3 and shape[2] == count
    if len(shape) != 3 or 0 in shape or not (is_last or shape[0] == count):
        msg = f"{name!r} in {path} has shape {shape} for {count} positions; expected (H, W, {count}). Save it again."
        raise DataFormatError(msg)
    sides = (shape[2], shape[0], shape[1]) if is_last else (shape[0], shape[1], shape[2])
    return MatFrames(path, name, sides, is_last=is_last)


def _probe(path: Path, N: int) -> ComplexArray | None:
    values = load(path, "probe")
    values = load(path, "prb") if values is None else values
    if values is None or values.dtype.kind != "c" or values.shape[:2] != (N, N):
        return None
    modes = values.reshape(N, N, -1)
    return checks.checked_probe(path, "probe", np.moveaxis(modes, -1, 0))


@register_no_scan("matlab5_without_patterns", container=CONTAINER)
def _no_patterns(path: Path, keys: Collection[str]) -> str | None:
    held = ", ".join(keys) or "nothing"
    if {"object", "probe"} <= {*keys} or {"obj", "probe"} <= {*keys}:
        return (
            f"a reconstruction in a MATLAB file ({held}), without patterns; expected a scan. Give the file of the "
            "patterns; to start a refinement from this one write its object and probe as an NPZ."
        )
    return f"a MATLAB file of {held}; expected patterns named {', '.join(_FRAMES)}. Save them under one of these names."
