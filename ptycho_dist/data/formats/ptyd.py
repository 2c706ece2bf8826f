"""Reader of ptypy's prepared scans (``.ptyd``), whole or with their parts in other files (append and link mode).

Only ``meta`` counts: the numbers in ``info`` are defaults of the loader that made the file, and often wrong.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats import checks
from ptycho_dist.data.formats.base import NAN, BoolArray, PatternSource, RawScan, ScanOptions
from ptycho_dist.data.formats.chosen_frames import chosen
from ptycho_dist.data.formats.hdf5_frames import JoinedFrames, h5_frames
from ptycho_dist.data.formats.hdf5_links import load_array, load_attributes, locate, members, shape_of
from ptycho_dist.data.formats.hdf5_numbers import attribute_text, load_numbers, number
from ptycho_dist.data.formats.intensity import SAMPLE_PATTERNS
from ptycho_dist.data.formats.measurement import Geometry, Measurement, Positions
from ptycho_dist.data.formats.prepare import raw_scan_of
from ptycho_dist.data.formats.registry import register_format
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray, IntArray

NAME = "ptyd"
KEYS = ("chunks", "meta")
_LENGTHS = ("energy", "distance")
_NONE = "None"
"""ptypy's mark of a value that is not there, stored as [0.]."""


@dataclass(frozen=True, kw_only=True)
class _Chunk:
    """Some frames that follow each other."""

    frames: PatternSource
    positions_m: FloatArray
    indices: IntArray | None
    weights: str | None
    companions: tuple[Path, ...]


def detect(keys: Collection[str]) -> bool:
    """Tell whether an HDF5 file with these root names is a prepared scan of ptypy."""
    return all(key in keys for key in KEYS)


@register_format(NAME, container="hdf5", keys=KEYS, detect=detect)
def open_raw(path: Path, options: ScanOptions) -> RawScan:
    """Open a prepared scan.

    Raises
    ------
    DataFormatError
        If it has no chunks, a part is missing or damaged, or positions and frames differ in number.
    """
    names = sorted(members(path, "chunks"), key=_number_of)
    if not names:
        msg = f"{path} is a ptypy file without chunks; expected frames. Prepare the scan again (save: append or link)."
        raise DataFormatError(msg)
    chunks = [_chunk(path, f"chunks/{name}") for name in names]
    joined = JoinedFrames([chunk.frames for chunk in chunks])
    positions = np.concatenate([chunk.positions_m for chunk in chunks])
    order = _order(chunks, joined.shape[0])
    files = dict.fromkeys(one for chunk in chunks for one in chunk.companions)
    found = Measurement(
        format_name=NAME,
        frames=chosen(joined, order),
        positions=Positions(values=positions[order]),
        geometry=_geometry(path),
        mask=_mask(path, chunks),
        beam_center_px=_centre(path),
        companions=tuple(files),
        conversions=(f"patterns: {joined.shape[0]} in {len(chunks)} chunks; numbers of 'meta', not of 'info'",),
    )
    return raw_scan_of(path, found, options)


def _number_of(name: str) -> tuple[bool, int, str]:
    return (not name.isdigit(), int(name) if name.isdigit() else 0, name)


def _chunk(path: Path, key: str) -> _Chunk:
    frames, companions = h5_frames(path, f"{key}/data")
    if not _is_there(path, f"{key}/positions"):
        msg = (
            f"{key!r} in {path} holds frames without positions; expected (b, 2) in metres. Prepare the scan with them."
        )
        raise DataFormatError(msg)
    positions = checks.checked_positions(path, load_array(path, f"{key}/positions"), frames.shape[0])
    indices = load_array(path, f"{key}/indices").ravel() if _is_there(path, f"{key}/indices") else None
    fits = indices is not None and len(indices) == frames.shape[0] and indices.dtype.kind in "iu"
    found = shape_of(path, f"{key}/weights") if _is_there(path, f"{key}/weights") else None
    return _Chunk(
        frames=frames,
        positions_m=positions,
        indices=indices if fits else None,
        weights=f"{key}/weights" if found is not None and 0 not in found[0] and len(found[0]) > 1 else None,
        companions=companions,
    )


def _is_there(path: Path, key: str) -> bool:
    return locate(path, key) is not None and attribute_text(load_attributes(path, key), "type") != _NONE


def _order(chunks: list[_Chunk], count: int) -> IntArray:
    """Order of the measurement, by the frame numbers; that of the file where they do not tell."""
    known = [chunk.indices for chunk in chunks if chunk.indices is not None]
    numbers = np.concatenate(known) if len(known) == len(chunks) else np.empty(0, np.int64)
    is_told = len(np.unique(numbers)) == count
    return np.argsort(numbers, kind="stable") if is_told else np.arange(count)


def _geometry(path: Path) -> Geometry:
    energy, distance = (number(path, f"meta/{key}") if _is_there(path, f"meta/{key}") else NAN for key in _LENGTHS)
    sizes = load_numbers(path, "meta/psize").ravel() if _is_there(path, "meta/psize") else np.array([NAN])
    height, width = (sizes[0], sizes[-1]) if sizes.size in (1, 2) else (NAN, NAN)
    return Geometry(
        energy_eV=energy * 1e3, detector_distance_m=distance, detector_pixel_m=(float(height), float(width))
    )


def _centre(path: Path) -> tuple[float, float] | None:
    if not _is_there(path, "meta/center"):
        return None
    values = load_array(path, "meta/center").ravel()
    is_pair = values.size == 2 and values.dtype.kind in "iuf" and np.isfinite(values).all()
    return (float(values[0]), float(values[1])) if is_pair else None


def _mask(path: Path, chunks: list[_Chunk]) -> BoolArray | None:
    """Pixels that count in ``weight2d`` and in all of a sample of frames (non-zero is good)."""
    parts: list[BoolArray] = []
    if _is_there(path, "meta/weight2d"):
        flat = load_array(path, "meta/weight2d")
        parts += [flat != 0] if flat.ndim == 2 else []
    for chunk in chunks:
        if chunk.weights is not None:
            parts.append(_always_good(path, chunk.weights, max(1, SAMPLE_PATTERNS // len(chunks))))
    shapes = {part.shape for part in parts}
    if len(shapes) > 1:
        msg = f"weights in {path} have shapes {sorted(shapes)}; expected one, that of a frame. Prepare the scan again."
        raise DataFormatError(msg)
    return np.asarray(np.logical_and.reduce(parts)) if parts else None


def _always_good(path: Path, key: str, most: int) -> BoolArray:
    """Pixels that count in a sample of at most so many frames of a chunk, bool (H, W)."""
    found = shape_of(path, key)
    if found is not None and len(found[0]) == 2:
        return np.asarray(load_array(path, key) != 0)
    weights, _ = h5_frames(path, key)
    good: NDArray[np.bool_] = np.ones(weights.shape[1:], np.bool_)
    for row in np.unique(np.linspace(0, weights.shape[0] - 1, min(most, weights.shape[0])).round().astype(np.int64)):
        good &= weights.read(np.array([row], np.int64))[0] != 0
    weights.close()
    return good
