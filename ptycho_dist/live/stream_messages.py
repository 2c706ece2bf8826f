"""Messages of a DECTRIS detector's stream, and version 1 of them: JSON and data in the parts of one ZeroMQ message.

A series begins with ``dheader-1.0`` (with the detector's configuration, and for ``header_detail`` ``all`` the mask of
its pixels), has one message of ``dimage-1.0`` for each frame, and ends with ``dseries_end-1.0``. Positions are our own
addition: in the appendix of an image, which the sender is free to fill, or in messages ``dposition-1.0``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray

METRES, PIXELS = "position_m", "position_px"
_TYPES = {"uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32}
_ENCODINGS = ("<", "lz4<", "bs8-lz4<", "bs16-lz4<", "bs32-lz4<")
_DETAILS = ("dflatfield-1.0", "dpixelmask-1.0", "dcountrate_table-1.0")


@dataclass(frozen=True)
class Header:
    """Begin of a series.

    Parameters
    ----------
    series
        Its number.
    config
        Configuration of the detector; empty where it is not sent.
    mask
        bool, shape (H, W), True = valid; None where it is not sent.
    """

    series: int
    config: Mapping[str, Any] = field(default_factory=dict)
    mask: NDArray[np.bool_] | None = None

    def number(self, name: str) -> float:
        """Return a number of the configuration; NaN where it is not known, or 0, which nobody entered."""
        value = self.config.get(name)
        return float(value) if isinstance(value, int | float) and value else math.nan

    @property
    def announced(self) -> int:
        """Frames of the series, as far as the configuration says."""
        images, triggers = self.number("nimages"), self.number("ntrigger")
        return 0 if math.isnan(images) else int(images * (1 if math.isnan(triggers) else triggers))


@dataclass(frozen=True)
class PositionsOf:
    """Positions of some frames.

    Parameters
    ----------
    frames
        Their numbers.
    values
        float64, shape (n, 2): (y, x).
    unit
        ``position_m`` or ``position_px``.
    """

    frames: tuple[int, ...]
    values: FloatArray
    unit: str


@dataclass(frozen=True)
class Image:
    """One frame as it was sent.

    Parameters
    ----------
    series, frame
        Numbers of its series, and of itself.
    shape
        Rows and columns.
    dtype, encoding, data
        Type of the counts, and how they are encoded.
    position
        Where the appendix has one.
    """

    series: int
    frame: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    encoding: str
    data: bytes
    position: PositionsOf | None


@dataclass(frozen=True)
class End:
    """End of a series."""

    series: int


Message = Header | Image | PositionsOf | End


def read_message(parts: Sequence[bytes]) -> Message:
    """Read the parts of a message.

    Raises
    ------
    DataFormatError
        If it is none of this stream.
    """
    first = _json(parts, 0)
    kind = first.get("htype")
    if kind == "dimage-1.0":
        return _image(parts, first)
    if kind == "dposition-1.0":
        return positions_of(first, _frames_of(first))
    if kind == "dheader-1.0":
        return _header(parts, first)
    if kind == "dseries_end-1.0":
        return End(whole_number(first, "series"))
    msg = (
        f"a message of the stream has htype {kind!r}; expected dheader-1.0, dimage-1.0, dposition-1.0 or "
        "dseries_end-1.0 (version 1 of the stream). Correct the sender."
    )
    raise DataFormatError(msg)


def _header(parts: Sequence[bytes], first: Mapping[str, Any]) -> Header:
    config: dict[str, Any] = {}
    mask: NDArray[np.bool_] | None = None
    place = 1
    while place < len(parts):
        told = _json(parts, place)
        kind = told.get("htype")
        if kind not in _DETAILS:
            config = config or dict(told)
            place += 1
            continue
        if kind == "dpixelmask-1.0":
            mask = _array(told, _part(parts, place + 1)) == 0
        place += 2
    return Header(whole_number(first, "series"), config, mask)


def _image(parts: Sequence[bytes], first: Mapping[str, Any]) -> Image:
    told, frame = _json(parts, 1), whole_number(first, "frame")
    encoding = told.get("encoding")
    if encoding not in _ENCODINGS:
        msg = f"frame {frame} of the stream is encoded as {encoding!r}; expected one of {', '.join(_ENCODINGS)}."
        raise DataFormatError(f"{msg} Set the compression of the detector to bslz4, lz4 or none.")
    shape, dtype = _shape(told), _dtype(told)
    position = position_in(parts[4], frame) if len(parts) > 4 else None
    return Image(whole_number(first, "series"), frame, shape, dtype, str(encoding), _part(parts, 2), position)


def position_in(added: Any, frame: int) -> PositionsOf | None:
    """Read the position of a frame from what the sender added to it: a map, or JSON text; all else is for others.

    Raises
    ------
    DataFormatError
        If it is no pair of numbers.
    """
    if isinstance(added, str | bytes):
        try:
            added = json.loads(added)
        except ValueError:
            return None
    if not isinstance(added, Mapping) or not (METRES in added or PIXELS in added):
        return None
    return positions_of(added, (frame,))


def positions_of(told: Mapping[str, Any], frames: tuple[int, ...]) -> PositionsOf:
    """Read the positions of some frames from ``position_m`` or ``position_px``.

    Raises
    ------
    DataFormatError
        If they are not one pair of numbers for each frame.
    """
    unit = METRES if METRES in told else PIXELS
    try:
        values = np.asarray(told.get(unit), np.float64).reshape(-1, 2)
    except (ValueError, TypeError):
        values = np.empty((0, 2))
    if len(values) != len(frames) or not np.isfinite(values).all():
        msg = (
            f"a position of the stream is {told.get(unit)!r} for {len(frames)} frames (from {frames[:1]}); expected "
            f'"{METRES}": [y, x] (or {PIXELS}), one pair for each frame. Correct the sender.'
        )
        raise DataFormatError(msg)
    return PositionsOf(frames, values, unit)


def _frames_of(told: Mapping[str, Any]) -> tuple[int, ...]:
    frames = told.get("frame")
    found = frames if isinstance(frames, list) else [frames]
    if not found or not all(type(one) is int and one >= 0 for one in found):
        msg = f"dposition-1.0 of the stream names frame {frames!r}; expected a number or a list. Correct the sender."
        raise DataFormatError(msg)
    return tuple(found)


def _array(told: Mapping[str, Any], data: bytes) -> NDArray[Any]:
    shape, dtype = _shape(told), _dtype(told)
    if len(data) != math.prod(shape) * dtype.itemsize:
        msg = f"a part of the stream has {len(data)} bytes for {shape} of {dtype}; expected as many as that takes."
        raise DataFormatError(f"{msg} Correct the sender.")
    return np.frombuffer(data, dtype).reshape(shape)


def _shape(told: Mapping[str, Any]) -> tuple[int, int]:
    """Rows and columns; the stream names columns first."""
    shape = told.get("shape")
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(one) is int and one > 0 for one in shape):
        msg = f"a frame of the stream has shape {shape!r}; expected two numbers [width, height]. Correct the sender."
        raise DataFormatError(msg)
    return shape[1], shape[0]


def _dtype(told: Mapping[str, Any]) -> np.dtype[Any]:
    name = told.get("type")
    if name not in _TYPES:
        msg = f"a frame of the stream has type {name!r}; expected one of {', '.join(_TYPES)}. Correct the sender."
        raise DataFormatError(msg)
    return np.dtype(_TYPES[name]).newbyteorder("<")


def whole_number(told: Mapping[str, Any], name: str) -> int:
    """Read a whole number of a message, which says itself what it is.

    Raises
    ------
    DataFormatError
        If it is none.
    """
    value, kind = told.get(name), told.get("htype", told.get("type"))
    if type(value) is not int or value < 0:
        msg = f"{name!r} in {kind} of the stream is {value!r}; expected a whole number. Correct the sender."
        raise DataFormatError(msg)
    return value


def _part(parts: Sequence[bytes], place: int) -> bytes:
    if place >= len(parts):
        msg = f"a message of the stream has {len(parts)} parts; expected {place + 1} or more. Correct the sender."
        raise DataFormatError(msg)
    return parts[place]


def _json(parts: Sequence[bytes], place: int) -> Mapping[str, Any]:
    part = _part(parts, place)
    try:
        found = json.loads(part)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        msg = (
            f"part {place} of a message of the stream begins with {bytes(part[:16])!r}; expected JSON, as version 1 of "
            "the stream has it. Correct the sender."
        )
        raise DataFormatError(msg)
    return found
