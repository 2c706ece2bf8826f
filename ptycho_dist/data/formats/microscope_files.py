"""Reader of 4D-STEM in the files of detectors and microscopes, through rosettasciio (extra ``stem``)."""

from __future__ import annotations

import importlib
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.base import NAN, RawScan, ScanOptions
from ptycho_dist.data.formats.companion_files import require_inside
from ptycho_dist.data.formats.containers import register_container
from ptycho_dist.data.formats.no_scan import register_no_scan
from ptycho_dist.data.formats.registry import register_format
from ptycho_dist.data.formats.stem import StemCube, open_cube
from ptycho_dist.data.formats.stem_units import Axis, frequency_or_angle, length_m
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import IntArray

NAME, CONTAINER = "microscope", "microscope"
_PLUGINS = {
    ".mib": "quantumdetector",
    ".dm3": "digitalmicrograph",
    ".dm4": "digitalmicrograph",
    ".blo": "blockfile",
    ".tvips": "tvips",
    ".mrc": "mrc",
}
_DAMAGED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What rosettasciio raises for damaged files."""


def _holds(path: Path, head: bytes) -> bool:
    return head.startswith(b"MQ1") or (path.suffix.lower() in _PLUGINS and path.suffix.lower() != ".mib")


@register_container(CONTAINER, holds=_holds)
def _names(path: Path) -> Collection[str]:
    return (NAME,)


@register_container("merlin_header", holds=lambda path, head: head.startswith(b"HDR,"))
def _header_names(path: Path) -> Collection[str]:
    return ("header",)


@register_no_scan("merlin_header", container="merlin_header")
def _header(path: Path, keys: Collection[str]) -> str | None:
    return f"the header of a Merlin scan; expected its frames. Give {path.with_suffix('.mib').name}, beside it."


@dataclass(frozen=True)
class _Signal:
    """A signal as rosettasciio gives it, its data not loaded."""

    data: Any
    axes: list[dict[str, Any]]
    metadata: dict[str, Any]


def _load(path: Path) -> _Signal:
    """Open the largest signal of a file.

    Raises
    ------
    DataFormatError
        If rosettasciio is not installed, or cannot read the file.
    """
    plugin = _PLUGINS.get(path.suffix.lower(), "quantumdetector")
    try:
        module = importlib.import_module(f"rsciio.{plugin}")
    except ImportError as error:
        msg = f"{path} is read by the package rosettasciio, which is not here ({error}); expected it. Install it: "
        raise DataFormatError(msg + "pip install ptycho-dist[stem].") from error
    try:
        signals = module.file_reader(str(path), lazy=True)
    except _DAMAGED as error:
        msg = f"{path} cannot be read by rosettasciio ({error}); it is damaged or of another kind. Copy it again."
        raise DataFormatError(msg) from error
    largest = max(signals, key=lambda one: int(np.prod(one["data"].shape)))
    return _Signal(largest["data"], list(largest["axes"]), dict(largest.get("metadata", {})))


class SignalFrames:
    """Frames of a signal; each process opens the file for itself."""

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self._path, self._shape = path, shape
        self._data: Any = None
        self._pid = -1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(B, H, W)."""
        return self._shape

    def read(self, index: IntArray) -> NDArray[Any]:
        """Return the frames ``index`` (any order, repeats allowed), shape (len(index), H, W)."""
        if self._data is None or self._pid != os.getpid():
            self._data = _load(self._path).data.reshape(self._shape)
            self._pid = os.getpid()
        rows, place = np.unique(index, return_inverse=True)
        try:
            chosen = self._data[rows]
            values = chosen.compute(scheduler="synchronous") if hasattr(chosen, "compute") else chosen
        except _DAMAGED as error:
            msg = f"frames of {self._path} cannot be read ({error}); the file is damaged. Copy it again."
            raise DataFormatError(msg) from error
        return np.array(np.asarray(values)[place])

    def unwritten(self) -> IntArray:
        """No frames: what is missing is cut off at the end."""
        return np.empty(0, np.int64)

    def close(self) -> None:
        """Drop the data."""
        self._data = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_data": None, "_pid": -1}


@register_format(NAME, container=CONTAINER, keys=(NAME,), detect=lambda keys: NAME in keys)
def open_raw(path: Path, options: ScanOptions) -> RawScan:
    """Open MIB, Digital Micrograph, blockfile, TVIPS or MRC.

    Raises
    ------
    DataFormatError
        If it is no scan of frames, or its raster, step or the angle of a pixel is not known.
    """
    for companion in _header_of(path):
        require_inside(path, companion)
    signal = _load(path)
    shape = tuple(int(one) for one in signal.data.shape)
    if len(shape) not in (3, 4) or 0 in shape:
        msg = (
            f"{path} holds a signal of shape {shape}: no scan of diffraction patterns; expected two axes of the raster "
            "and two of the detector. Give the file of the 4D-STEM scan."
        )
        raise DataFormatError(msg)
    axes = [Axis(step=float(one.get("scale") or NAN), unit=str(one.get("units") or "")) for one in signal.axes]
    per_metre, angle = frequency_or_angle(path, axes[-2], axes[-1])
    count = int(np.prod(shape[:-2]))
    cube = StemCube(
        frames=SignalFrames(path, (count, shape[-2], shape[-1])),
        scan_shape=(shape[0], shape[1]) if len(shape) == 4 else None,
        step_m=(length_m(axes[0]), length_m(axes[1])) if len(shape) == 4 else (NAN, NAN),
        energy_eV=_energy(signal.metadata),
        angle_per_pixel_rad=angle,
        per_metre_per_pixel=per_metre,
        companions=_header_of(path),
        conversions=("patterns: as rosettasciio orients them",),
    )
    return open_cube(path, NAME, cube, options)


def _header_of(path: Path) -> tuple[Path, ...]:
    header = path.with_suffix(".hdr")
    return (header,) if path.suffix.lower() == ".mib" and header.is_file() else ()


def _energy(metadata: dict[str, Any]) -> float:
    found: Any = metadata
    for key in ("Acquisition_instrument", "TEM", "beam_energy"):
        found = found.get(key) if isinstance(found, dict) else None
    return float(found) * 1e3 if isinstance(found, int | float | np.number) and found > 0 else NAN
