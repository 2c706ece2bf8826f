"""Writer of the project's own scan layout; see :mod:`ptycho_dist.data.formats.ptycho_dist_h5`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from ptycho_dist.atomic import atomic_path
from ptycho_dist.data.formats.base import NAN, BoolArray, ComplexArray
from ptycho_dist.data.formats.intensity import DEAD_PIXEL
from ptycho_dist.data.formats.measurement import ELECTRON
from ptycho_dist.data.formats.ptycho_dist_h5 import MARK, RADIATION, SCHEMA_VERSION
from ptycho_dist.data.formats.stored_order import place_of
from ptycho_dist.errors import DataFormatError
from ptycho_dist.hdf5_files import OutputFile, writing
from ptycho_dist.mapped_files import let_go
from ptycho_dist.types import FAR_FIELD, FloatArray, IntArray, Propagation

_DTYPES: tuple[np.dtype[Any], ...] = tuple(np.dtype(t) for t in (np.uint8, np.uint16, np.uint32, np.float32))
COPY_ROWS = 256
"""Patterns that are copied at once."""
_CHUNK_BYTES, _CHUNK_ROWS, _BAND_ROWS = 1 << 16, 64, 256
"""Counts in a chunk, and the most patterns."""


@dataclass(frozen=True, kw_only=True)
class ScanContent:
    """What :func:`write_scan_h5` writes.

    Parameters
    ----------
    patterns
        Chunks (n, N, N) of photon counts, DC at the centre, in the order of the file; consumed once.
    positions_px
        float64, shape (B, 2): patch corners (y, x) in object pixels, in the order of the file.
    measured_index
        int64, shape (B,): number in the measurement of each stored pattern, by which readers know it; None where they
        are stored as they were measured.
    probe
        complex64, shape (P, N, N), or None.
    mask
        bool, shape (N, N), True = valid, or None.
    probe_mask
        bool, shape (N, N), True = the probe may differ from zero there, or None.
    object_, object_origin_px
        complex64, shape (H, W), and the position (y, x) of its pixel (0, 0), or None.
    nphotons
        Nominal photons of a pattern, or None.
    pixel_size_m, energy_eV, detector_distance_m
        NaN where unknown.
    is_electron
        Whether the energy is that of electrons.
    propagation
        How waves travel, for formats that hold the pixel of the detector.
    metadata
        Anything else worth keeping; must go into JSON.
    """

    patterns: Iterable[NDArray[Any]]
    positions_px: FloatArray
    measured_index: IntArray | None = None
    probe: ComplexArray | None = None
    mask: BoolArray | None = None
    probe_mask: BoolArray | None = None
    object_: ComplexArray | None = None
    object_origin_px: tuple[float, float] | None = None
    nphotons: float | None = None
    pixel_size_m: float = NAN
    energy_eV: float = NAN
    detector_distance_m: float = NAN
    is_electron: bool = False
    propagation: Propagation = FAR_FIELD
    metadata: Mapping[str, Any] = field(default_factory=dict)


def write_scan_h5(path: Path | str, content: ScanContent) -> Path:
    """Write a scan chunk by chunk; whole numbers get the smallest unsigned type that holds them.

    The file appears under its name only when it is complete.

    Raises
    ------
    DataFormatError
        If counts are all zero, NaN, infinite, negative or overflow, or lengths and shapes disagree.
    """
    path = Path(path)
    with atomic_path(path) as temporary:
        write_scan_file(temporary, content, path)
    return path


def write_scan_file(file_path: Path, content: ScanContent, named: Path) -> None:
    """Write a scan under a temporary name, with the name in messages that it is to have; see :func:`write_scan_h5`."""
    with writing(file_path) as file:
        rows = Rows(named, 0, len(content.positions_px), content.mask)
        sums = write_rows(file, content.patterns, rows)
        if not sums.any():
            msg = (
                f"patterns to be written to {named} hold no counts in valid pixels; expected some. Check the patterns."
            )
            raise DataFormatError(msg)
        write_facts(file, content, sums)


@dataclass(frozen=True)
class Storage:
    """How patterns are stored in an HDF5 file.

    Parameters
    ----------
    key
        Path of the dataset.
    filters
        Keywords of :meth:`h5py.Group.create_dataset` that compress it.
    """

    key: str = "patterns"
    filters: Mapping[str, Any] = field(default_factory=lambda: hdf5plugin.Bitshuffle(cname="lz4"))


PORTABLE: Mapping[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
"""Filters that every build of HDF5 has."""


@dataclass(frozen=True)
class Rows:
    """Which patterns of a scan are written, for checks and messages.

    Parameters
    ----------
    path
        The scan that they are part of.
    start, stop
        Half-open range of pattern numbers.
    mask
        bool, shape (N, N), True = valid, or None.
    storage
        Where in the file they go, and how they are compressed.
    """

    path: Path
    start: int
    stop: int
    mask: BoolArray | None = None
    storage: Storage = field(default_factory=Storage)

    def __len__(self) -> int:
        return self.stop - self.start


def write_rows(file: OutputFile, chunks: Iterable[NDArray[Any]], rows: Rows) -> FloatArray:
    """Write patterns as one dataset of the smallest type that holds them.

    Returns
    -------
    ndarray, float64, shape (len(rows),)
        Counts in the valid pixels of each pattern.

    Raises
    ------
    DataFormatError
        If counts are NaN, infinite, negative or overflow, or lengths and shapes disagree.
    OSError
        If the disk is full.
    """
    dataset: h5py.Dataset | None = None
    written, sums = 0, np.zeros(len(rows))
    for chunk in chunks:
        require_counts(rows, chunk, written)
        dataset = _room_for(file, dataset, chunk, rows)
        stop = written + len(chunk)
        if stop > len(dataset) or chunk.shape[1:] != dataset.shape[1:]:
            _raise_disagreement(rows, stop, chunk.shape[1:])
        dataset[written:stop] = chunk
        file.require_written()
        valid = chunk if rows.mask is None else chunk[:, rows.mask]
        sums[written:stop] = valid.reshape(len(chunk), -1).sum(axis=1, dtype=np.float64)
        written = stop
    if dataset is None or written != len(rows):
        _raise_disagreement(rows, written, None)
    else:
        write_pattern_attributes(dataset)
    return sums


def write_pattern_attributes(dataset: h5py.Dataset) -> None:
    """Say what the patterns are."""
    dataset.attrs["units"] = "counts"
    dataset.attrs["zero_frequency"] = "centre"


def _raise_disagreement(rows: Rows, n_found: int, shape: tuple[int, ...] | None) -> None:
    sides = "" if shape is None else f" (the last chunk {shape} a pattern)"
    msg = (
        f"{n_found} patterns{sides} for {len(rows)} positions to be written to {rows.path}; expected one "
        "square pattern of one size for each position. Make them agree."
    )
    raise DataFormatError(msg)


def require_counts(rows: Rows, chunk: NDArray[Any], first: int) -> None:
    """Raise DataFormatError where patterns (n, N, N) to be written as rows ``first`` and on are no counts."""
    bad = ~np.isfinite(chunk) | (chunk < 0) | (chunk >= DEAD_PIXEL)
    if bad.any():
        row, y, x = (int(i) for i in np.argwhere(bad)[0])
        msg = (
            f"pattern {rows.start + first + row} to be written to {rows.path} holds {chunk[row, y, x]} at ({y}, {x}); "
            "expected counts from 0 to 2^32-2. Set such pixels to 0 and mark them in the mask."
        )
        raise DataFormatError(msg)


def _room_for(file: OutputFile, dataset: h5py.Dataset | None, chunk: NDArray[Any], rows: Rows) -> h5py.Dataset:
    needed, key, filters = smallest_dtype(chunk), rows.storage.key, rows.storage.filters
    if dataset is None:
        return create_patterns(file, key, (len(rows), *chunk.shape[1:]), needed, filters)
    if _DTYPES.index(needed) <= _DTYPES.index(dataset.dtype):
        return dataset
    wider = create_patterns(file, f"{key}_wider", dataset.shape, needed, filters)
    for start in range(0, len(dataset), COPY_ROWS):
        wider[start : start + COPY_ROWS] = dataset[start : start + COPY_ROWS]
        file.require_written()
    del file[key]
    file.move(f"{key}_wider", key)
    return file[key]


def smallest_common(dtypes: Iterable[np.dtype[Any]]) -> np.dtype[Any]:
    """Type of patterns that holds the values of all these types of patterns."""
    return max(dtypes, key=_DTYPES.index)


def smallest_dtype(chunk: NDArray[Any]) -> np.dtype[Any]:
    """Return the type of patterns that holds these counts."""
    if chunk.dtype.kind == "f" and (chunk != np.rint(chunk)).any():
        return _DTYPES[-1]
    return next(dtype for dtype in _DTYPES[:-1] if chunk.max(initial=0) <= np.iinfo(dtype).max)


def create_patterns(
    file: h5py.File,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    filters: Mapping[str, Any] | None = None,
) -> h5py.Dataset:
    """Make a dataset of patterns, compressed in chunks of several (bitshuffle and LZ4 where no filters are given)."""
    pattern_bytes = int(np.prod(shape[1:])) * dtype.itemsize
    depth = max(1, min(_CHUNK_BYTES // max(pattern_bytes, 1), _CHUNK_ROWS, shape[0]))
    chosen = Storage().filters if filters is None else filters
    return file.create_dataset(name, shape, dtype, chunks=(depth, *shape[1:]), **chosen)


def write_facts(file: h5py.File, content: ScanContent, sums: FloatArray) -> None:
    """Write all that is not patterns.

    Parameters
    ----------
    file
        The open scan.
    content
        What to write; its patterns are left alone.
    sums
        float64, shape (B,): counts in the valid pixels of each pattern.
    """
    _write_arrays(file, content)
    _write_attributes(file, content)
    measured = sums if content.measured_index is None else sums[place_of(content.measured_index)]
    file.attrs["mean_counts"] = float(measured.sum()) / len(sums)


def _write_arrays(file: h5py.File, content: ScanContent) -> None:
    positions = file.create_dataset("positions_px", data=np.asarray(content.positions_px, dtype=np.float64))
    positions.attrs.update({"units": "px", "meaning": "patch corner", "axes": "y,x"})
    if content.measured_index is not None:
        index = file.create_dataset("measured_index", data=np.asarray(content.measured_index, dtype=np.int64))
        index.attrs.update({"units": "1", "meaning": "number of the pattern in the measurement"})
    if content.probe is not None:
        probe = file.create_dataset("probe", data=np.asarray(content.probe, dtype=np.complex64))
        probe.attrs.update({"units": "sqrt(counts)", "axes": "mode,y,x"})
    if content.mask is not None:
        mask = file.create_dataset("mask", data=np.asarray(content.mask, dtype=np.bool_))
        mask.attrs.update({"units": "1", "meaning": "True = valid"})
    if content.probe_mask is not None:
        probe_mask = file.create_dataset("probe_mask", data=np.asarray(content.probe_mask, dtype=np.bool_))
        probe_mask.attrs.update({"units": "1", "meaning": "True = the probe may differ from zero"})
    if content.object_ is not None:
        object_ = _write_in_bands(file, "object", content.object_)
        origin_px = (0.0, 0.0) if content.object_origin_px is None else content.object_origin_px
        object_.attrs.update({"units": "1", "origin_px": origin_px})


def _write_in_bands(file: h5py.File, name: str, values: ComplexArray) -> h5py.Dataset:
    """Write an array (H, W) that may lie in a mapped file, and hold but a part of it."""
    dataset = file.create_dataset(name, values.shape, np.complex64)
    for first in range(0, len(values), _BAND_ROWS):
        band = slice(first, first + _BAND_ROWS)
        dataset[band] = np.asarray(values[band], np.complex64)
        let_go(values)
    return dataset


def _write_attributes(file: h5py.File, content: ScanContent) -> None:
    file.attrs["format"] = MARK
    file.attrs["schema_version"] = SCHEMA_VERSION
    for name in ("pixel_size_m", "energy_eV", "detector_distance_m"):
        file.attrs[name] = getattr(content, name)
    if content.nphotons is not None:
        file.attrs["nphotons"] = content.nphotons
    if content.is_electron:
        file.attrs[RADIATION] = ELECTRON
    file.attrs["metadata_json"] = json.dumps(dict(content.metadata), sort_keys=True)
