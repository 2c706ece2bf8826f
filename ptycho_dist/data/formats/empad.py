"""Reader of EMPAD scans: frames of 130 x 128 numbers without a header, and an XML file beside them."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.base import NAN, RawScan, ScanOptions
from ptycho_dist.data.formats.companion_files import is_companion, require_inside
from ptycho_dist.data.formats.containers import register_container
from ptycho_dist.data.formats.registry import register_format
from ptycho_dist.data.formats.stem import StemCube, open_cube
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import IntArray

NAME, CONTAINER = "empad", "empad"
_ROWS, _SIDE = 130, 128
"""Rows that are stored, of which the last two are no data, and rows and columns of the detector."""
_FRAME_BYTES = _ROWS * _SIDE * 4
_MOST_XML_BYTES = 1 << 24
_RAW_NAME = re.compile(r".*_x(\d+)(?:_y(\d+))?\.raw", re.IGNORECASE)
_NEW_FIELD = 0.72
"""What newer versions have multiplied the field of view with, unless ``scale_factor`` says."""


def _holds(path: Path, head: bytes) -> bool:
    is_xml = path.suffix.lower() == ".xml" and b"<root" in head[:1024]
    return is_xml or (path.suffix.lower() == ".raw" and path.stat().st_size % _FRAME_BYTES == 0)


@register_container(CONTAINER, holds=_holds)
def _names(path: Path) -> Collection[str]:
    return ("empad",)


class RawFrames:
    """Frames in a file without a header; each process maps it for itself."""

    def __init__(self, path: Path, count: int) -> None:
        self._path, self._count = path, count
        self._mapped: NDArray[Any] | None = None
        self._pid = -1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(B, 128, 128)."""
        return self._count, _SIDE, _SIDE

    def read(self, index: IntArray) -> NDArray[Any]:
        """Return the frames ``index``, float32, shape (len(index), 128, 128)."""
        if self._mapped is None or self._pid != os.getpid():
            self._mapped = np.memmap(self._path, "<f4", "r", shape=(self._count, _ROWS, _SIDE))
            self._pid = os.getpid()
        return np.array(self._mapped[index][:, :_SIDE])

    def unwritten(self) -> IntArray:
        """No frames: what is missing is cut off at the end."""
        return np.empty(0, np.int64)

    def close(self) -> None:
        """Drop the mapping."""
        self._mapped = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapped": None, "_pid": -1}


@register_format(NAME, container=CONTAINER, keys=("empad",), detect=lambda keys: "empad" in keys)
def open_raw(path: Path, options: ScanOptions) -> RawScan:
    """Open a scan by its XML file, or by the frames alone, whose name then tells the raster.

    Raises
    ------
    DataFormatError
        If frames, raster, step or the angle of a pixel are not known, or the XML is damaged or of another program.
    """
    noted = _read(path) if path.suffix.lower() == ".xml" else _beside(path)
    raw = path if noted is None else _raw_of(noted)
    count = raw.stat().st_size // _FRAME_BYTES
    if count == 0:
        msg = f"{raw} has {raw.stat().st_size} bytes; expected frames of {_FRAME_BYTES}. Copy the file again."
        raise DataFormatError(msg)
    files = {raw, *(() if noted is None else (noted.path,))} - {path}
    shape = _raster(raw, noted)
    said = []
    if (
        shape is not None
        and options.scan_shape is None
        and count != shape[0] * shape[1]
        and count > shape[0] * shape[1]
    ):
        said.append(f"patterns: {count - shape[0] * shape[1]} beyond the raster left out")
        count = shape[0] * shape[1]
    step = (NAN, NAN) if noted is None or shape is None else noted.step_m(shape)
    if not np.isnan(step[0]) and options.scan_step_m is None:
        said.append(
            "positions: step from the full field of view; give --scan_step_m where the raster covers less of it"
        )
    cube = StemCube(
        frames=RawFrames(raw, count),
        scan_shape=shape,
        step_m=step,
        energy_eV=NAN if noted is None else noted.number("source.get_voltage", "high_voltage"),
        angle_per_pixel_rad=NAN if noted is None else noted.number("calibrated_diffraction_angle"),
        companions=tuple(sorted(files)),
        conversions=tuple(said),
    )
    return open_cube(path, NAME, cube, options)


@dataclass(frozen=True)
class _Noted:
    """What the XML file says."""

    path: Path
    root: Xml.Element

    def text(self, name: str) -> str | None:
        found = next((one for one in self.root.iter(name)), None)
        return None if found is None or found.text is None else found.text.strip()

    def number(self, *names: str) -> float:
        """First of some elements that holds a number above 0; NaN without one."""
        for name in names:
            try:
                value = float(self.text(name) or "nan")
            except ValueError:
                continue
            if value > 0:
                return value
        return NAN

    def step_m(self, shape: tuple[int, int]) -> tuple[float, float]:
        """Field of view over the lines and over the frames of a line."""
        old = self.text("optics.get_full_scan_field_of_view")
        if old is not None:
            y, x = _pair(self.path, old)
        else:
            field = next(iter(self.root.iter("full_scan_field_of_view")), None)
            scale = self.number("scale_factor")
            parts = {"y": NAN, "x": NAN} | ({} if field is None else {one.tag: float(one.text or NAN) for one in field})
            y, x = (parts[axis] / (scale if scale > 0 else _NEW_FIELD) for axis in "yx")
        return y / shape[0], x / shape[1]


def _pair(path: Path, text: str) -> tuple[float, float]:
    try:
        y, x = ast.literal_eval(text)
        return float(y), float(x)
    except (ValueError, SyntaxError, TypeError) as error:
        msg = f"the field of view in {path} is {text[:80]!r}; expected two lengths in metres. Correct the file."
        raise DataFormatError(msg) from error


def _read(path: Path) -> _Noted:
    size = path.stat().st_size
    content = path.read_bytes() if size <= _MOST_XML_BYTES else b""
    if not content or b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        found = f"{size} bytes" if not content else "declarations of entities"
        msg = f"{path} has {found}; expected the XML file of an EMPAD. Give that file."
        raise DataFormatError(msg)
    try:
        root = Xml.fromstring(content)
    except Xml.ParseError as error:
        msg = f"{path} is no readable XML ({error}); expected the file of an EMPAD scan. Copy it again."
        raise DataFormatError(msg) from error
    return _Noted(path, root)


def _beside(raw: Path) -> _Noted | None:
    """Find the XML file beside the frames that names them."""
    for path in sorted(raw.parent.glob("*.xml")):
        if (
            is_companion(raw, path)
            and path.stat().st_size <= _MOST_XML_BYTES
            and raw.name.encode() in path.read_bytes()
        ):
            return _read(path)
    return None


def _raw_of(noted: _Noted) -> Path:
    found = next(iter(noted.root.iter("raw_file")), None)
    name = "" if found is None else found.get("filename", "")
    if not name or Path(name).name != name:
        msg = f"{noted.path} names {name or 'no'!r} file of frames; expected one in its folder. Give the raw file."
        raise DataFormatError(msg)
    raw = noted.path.parent / name
    if not raw.is_file():
        msg = (
            f"{noted.path} is the XML file of an EMPAD scan, and its frames, {name}, are not beside it; expected both. "
            "Copy the raw file into the folder."
        )
        raise DataFormatError(msg)
    require_inside(noted.path, raw)
    return raw


def _raster(raw: Path, noted: _Noted | None) -> tuple[int, int] | None:
    """Lines and frames in a line, of the XML file, else of the name of the frames."""
    if noted is not None:
        lines, in_line = noted.number("pix_y"), noted.number("pix_x")
        if lines > 0 and in_line > 0:
            return int(lines), int(in_line)
    match = _RAW_NAME.fullmatch(raw.name)
    if match is None or match[2] is None:
        return None
    return int(match[2]), int(match[1])
