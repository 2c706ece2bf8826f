"""Writer of ptypy's prepared scans (``.ptyd``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptycho_dist.atomic import atomic_path
from ptycho_dist.data.formats.ptycho_dist_h5_writer import (
    PORTABLE,
    Rows,
    ScanContent,
    require_counts,
    smallest_dtype,
)
from ptycho_dist.data.formats.writers.lengths import Lengths, lengths_of
from ptycho_dist.data.formats.writers.ptypy_nodes import mark_file, write_node
from ptycho_dist.data.formats.writers.registry import GEOMETRY, register_writer
from ptycho_dist.errors import DataFormatError
from ptycho_dist.hdf5_files import writing

NAME = "ptyd"
_VERSION = 0.1


@register_writer(NAME, suffixes=(".ptyd",), holds=("mask", *GEOMETRY), needs=GEOMETRY)
def write(path: Path, content: ScanContent) -> tuple[Path, ...]:
    """Write counts in chunks as they come, positions (row, column) in metres, weights, and the geometry in ``meta``."""
    rows = Rows(path, 0, len(content.positions_px), content.mask)
    with atomic_path(path) as temporary, writing(temporary) as file:
        mark_file(file)
        chunks = write_node(file, "chunks", {})
        lengths: Lengths | None = None
        written = 0
        for number, patterns in enumerate(content.patterns):
            require_counts(rows, patterns, written)
            lengths = lengths or lengths_of(content, patterns.shape[-1])
            _write_chunk(chunks, number, patterns, written, lengths, content.mask)
            file.require_written()
            written += len(patterns)
        if lengths is None or written != len(rows):
            msg = f"{written} patterns for {len(rows)} positions to be written to {path}; expected as many."
            raise DataFormatError(msg)
        meta = _meta(content, lengths, patterns.shape[-1])
        write_node(file, "meta", meta)
        write_node(file, "info", meta)
    return (path,)


def _write_chunk(
    chunks: h5py.Group,
    number: int,
    patterns: NDArray[Any],
    first: int,
    lengths: Lengths,
    mask: NDArray[np.bool_] | None,
) -> None:
    group = write_node(chunks, str(number), {})
    stop = first + len(patterns)
    valid = np.ones(patterns.shape[1:], np.bool_) if mask is None else mask
    weights = np.broadcast_to(valid.astype(np.uint8), patterns.shape)
    write_node(group, "data", patterns.astype(smallest_dtype(patterns)), **PORTABLE)
    write_node(group, "weights", weights, **PORTABLE)
    write_node(group, "positions", lengths.corners_m[first:stop])
    write_node(group, "indices", np.arange(first, stop)).attrs["type"] = "arraylist"


def _meta(content: ScanContent, lengths: Lengths, N: int) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "label": None,
        "num_frames": len(content.positions_px),
        "energy": content.energy_eV / 1e3,
        "distance": content.detector_distance_m,
        "psize": np.full(2, lengths.detector_pixel_m),
        "center": np.full(2, N / 2),
        "shape": np.full(2, N),
    }
