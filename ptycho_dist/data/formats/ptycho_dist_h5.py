"""Reader of the project's own scan layout (HDF5).

Root attributes: ``format`` ("ptycho_dist_scan"), ``schema_version`` (1), ``mean_counts``,
``nphotons`` (where known), ``pixel_size_m``, ``energy_eV``, ``detector_distance_m`` (NaN where
unknown), ``metadata_json``. Datasets, each with an attribute ``units``:
``patterns`` (B, N, N) counts with DC at the centre, ``positions_px`` (B, 2) patch corners (y, x),
optional ``measured_index`` (B,): the number in the measurement of each stored pattern, ``probe`` (P, N, N), ``mask``
(N, N) with True = valid, ``probe_mask`` (N, N) with True = the probe may differ from zero, and ``object`` (H, W) with
the attribute ``origin_px`` (y, x): the position of its pixel (0, 0). Patterns are delivered in the order of the
measurement, in whatever order they are stored.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats import checks, hdf5
from ptycho_dist.data.formats.base import NAN, BoolArray, ComplexArray, PatternSource, RawScan, ScanOptions
from ptycho_dist.data.formats.growing_rows import first_rows, written_rows
from ptycho_dist.data.formats.hdf5_numbers import attribute_text
from ptycho_dist.data.formats.hdf5_patterns import H5Patterns
from ptycho_dist.data.formats.intensity import kind_of_counts
from ptycho_dist.data.formats.measurement import ELECTRON, PIXELS, Positions
from ptycho_dist.data.formats.prepare import grown, reframed
from ptycho_dist.data.formats.registry import register_format
from ptycho_dist.data.formats.stored_order import MeasuredOrder, checked_index, place_of
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray, IntArray

NAME = "ptycho_dist_h5"
KEYS = ("patterns", "positions_px")
_READ = (*KEYS, "measured_index", "probe", "mask", "probe_mask", "object")
RADIATION = "radiation"
MARK = "ptycho_dist_scan"
SCHEMA_VERSION = 1
_DEFLATE_RATIO = 1100  # deflate compresses at most 1032 to 1


def detect(keys: Collection[str]) -> bool:
    """Tell whether an HDF5 file with these root datasets is a scan in this layout."""
    return any(key in keys for key in KEYS)


def open_growing(path: Path, options: ScanOptions, known: RawScan | None) -> RawScan:
    """Open the rows that a scan in this layout has so far, while another process writes it.

    Raises
    ------
    DataFormatError
        If it holds no whole row yet, or is damaged.
    """
    with hdf5.reading(path) as file:
        checks.require_keys(path, file, KEYS, NAME)
        shape = hdf5.require_dataset(file, path, "patterns").shape
        positions_px = np.asarray(hdf5.require_dataset(file, path, "positions_px")[()], np.float64)
        written = written_rows(file["patterns"])
        count = first_rows(path, written, positions_px)
        patterns, positions_px = H5Patterns(path, "patterns", (count, *shape[1:])), positions_px[:count]
        if known is not None:
            now = grown(path, known, patterns, Positions(values=positions_px, unit=PIXELS))
            return replace(now, n_unplaced=written - count)
        opened = replace(_opened(path, file, options, patterns, positions_px), n_unplaced=written - count)
    return reframed(path, opened, options) if options.frame_settings() else opened


@register_format(NAME, container="hdf5", keys=KEYS, detect=detect, open_growing=open_growing)
def open_raw(path: Path, options: ScanOptions) -> RawScan:
    """Open a scan in the project's own layout.

    Raises
    ------
    DataFormatError
        If the layout is newer than this reader, or a dataset is missing, damaged or of the wrong shape.
    """
    with hdf5.reading(path) as file:
        checks.require_keys(path, file, KEYS, NAME)
        _require_version(path, file)
        patterns = hdf5.require_dataset(file, path, "patterns")
        shape = checks.require_square_patterns(path, "patterns", patterns.shape)
        if patterns.id.get_storage_size() == 0 and not patterns.is_virtual:
            msg = f"'patterns' in {path} declares shape {shape} but holds no data. Write the scan again."
            raise DataFormatError(msg)
        positions = hdf5.require_dataset(file, path, "positions_px")
        if positions.shape != (shape[0], 2):
            msg = f"'positions_px' in {path} has shape {positions.shape}; expected ({shape[0]}, 2). Write it again."
            raise DataFormatError(msg)
        stored = H5Patterns(path, "patterns", shape)
        positions_px = checks.checked_positions(path, _load(path, file, "positions_px"), shape[0])
        place = _place(path, file, shape[0])
        if place is None:
            return _opened(path, file, options, stored, positions_px)
        return _opened(path, file, options, MeasuredOrder(stored, place), positions_px[place])


def _opened(
    path: Path, file: h5py.File, options: ScanOptions, patterns: PatternSource, positions_px: FloatArray
) -> RawScan:
    kind, N = kind_of_counts(options), patterns.shape[1]
    return RawScan(
        format_name=NAME,
        patterns=patterns,
        fftshift=False,
        square=kind.square,
        positions_px=positions_px,
        probe=_probe(path, file, N),
        mask=_mask(path, file, N),
        probe_mask=_probe_mask(path, file, N),
        object_source=H5Object(path) if "object" in list(file) else None,
        object_origin_px=_object_origin(path, file),
        mean_counts=None if kind.square else _number(path, file, "mean_counts"),
        nphotons=_number(path, file, "nphotons"),
        conversions=(f"patterns: {kind.reason}",) if kind.square else (),
        companions=hdf5.source_files(file, path, [key for key in _READ if key in list(file)]),
        pixel_size_m=_number(path, file, "pixel_size_m") or NAN,
        energy_eV=_number(path, file, "energy_eV") or NAN,
        detector_distance_m=_number(path, file, "detector_distance_m") or NAN,
        is_electron=attribute_text(file.attrs, RADIATION) == ELECTRON,
    )


def _load(path: Path, file: h5py.File, key: str) -> NDArray[Any]:
    """Load a dataset, or map it; a size that its storage cannot hold is refused before memory is taken."""
    return hdf5.read_or_map(path, hdf5.require_dataset(file, path, key))


def _require_version(path: Path, file: h5py.File) -> None:
    mark, version = file.attrs.get("format"), file.attrs.get("schema_version")
    if mark != MARK or version != SCHEMA_VERSION:
        msg = (
            f"{path} says format {mark}, schema_version {version}; expected {MARK}, {SCHEMA_VERSION}. "
            "Write it again with write_scan_h5 of this version."
        )
        raise DataFormatError(msg)


def _number(path: Path, file: h5py.File, name: str) -> float | None:
    value = file.attrs.get(name)
    if value is None:
        return None
    if np.ndim(value) != 0 or np.asarray(value).dtype.kind not in "fiu" or value == 0 or value < 0 or np.isinf(value):
        msg = f"attribute {name!r} of {path} is {value}; expected a number > 0, or NaN. Correct it, or leave it out."
        raise DataFormatError(msg)
    return None if np.isnan(value) else float(value)


def _place(path: Path, file: h5py.File, n_patterns: int) -> IntArray | None:
    """Where the file holds each pattern of the measurement; None where they are in order."""
    if "measured_index" not in list(file):
        return None
    return place_of(checked_index(path, _load(path, file, "measured_index"), n_patterns))


def _probe(path: Path, file: h5py.File, N: int) -> ComplexArray | None:
    if "probe" not in list(file):
        return None
    probe = checks.checked_probe(path, "probe", _load(path, file, "probe"))
    return checks.embed_probe(path, probe, N)[0]


def _mask(path: Path, file: h5py.File, N: int) -> BoolArray | None:
    if "mask" not in list(file):
        return None
    dataset = hdf5.require_dataset(file, path, "mask")
    if dataset.shape != (N, N) or dataset.dtype != np.bool_:
        msg = f"'mask' in {path} is {dataset.dtype} {dataset.shape}; expected bool ({N}, {N}), True = valid. Rewrite."
        raise DataFormatError(msg)
    mask: BoolArray = _load(path, file, "mask")
    if not mask.any():
        msg = f"'mask' in {path} leaves no pixel valid; expected True = valid. Invert or rewrite it."
        raise DataFormatError(msg)
    return mask


def _probe_mask(path: Path, file: h5py.File, N: int) -> BoolArray | None:
    if "probe_mask" not in list(file):
        return None
    return checks.checked_probe_mask(path, _load(path, file, "probe_mask"), N)


def _object_origin(path: Path, file: h5py.File) -> FloatArray | None:
    if "object" not in list(file):
        return None
    dataset = hdf5.require_dataset(file, path, "object")
    origin = np.asarray(dataset.attrs.get("origin_px", ()), dtype=np.float64)
    if dataset.ndim != 2 or origin.shape != (2,) or not np.isfinite(origin).all():
        found = f"shape {dataset.shape} and origin_px {origin.tolist()}"
        msg = f"'object' in {path} has {found}; expected (H, W) and two numbers (y, x). Write it again."
        raise DataFormatError(msg)
    return origin


@dataclass(frozen=True)
class H5Object:
    """The object dataset of a scan."""

    path: Path

    def load(self) -> ComplexArray:
        """Return the object as complex64, shape (H, W); a large one is mapped, and not to be written to."""
        with hdf5.reading(self.path) as file:
            return _load(self.path, file, "object").astype(np.complex64, copy=False)
