"""Readers of patterns that Ptychodus saved (HDF5 and NPZ); positions are in the product beside them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats import npz
from ptycho_dist.data.formats.base import NAN, PatternSource, RawScan, ScanOptions
from ptycho_dist.data.formats.hdf5_frames import h5_frames
from ptycho_dist.data.formats.hdf5_links import load_array, load_attributes, shape_of
from ptycho_dist.data.formats.hdf5_numbers import attribute_number
from ptycho_dist.data.formats.measurement import Geometry, Measurement, as_valid
from ptycho_dist.data.formats.prepare import raw_scan_of
from ptycho_dist.data.formats.ptychodus_join import join_product
from ptycho_dist.data.formats.registry import register_format
from ptycho_dist.errors import DataFormatError

NAME_H5, NAME_NPZ = "ptychodus_h5", "ptychodus_npz"
KEYS = ("patterns", "indexes", "bad_pixels")
_POSITIONS = ("positions_px", "probe_position_x_px")


def detect(keys: Collection[str]) -> bool:
    """Tell whether a file with these names holds patterns of Ptychodus, without positions."""
    return "patterns" in keys and "indexes" in keys and not any(key in keys for key in _POSITIONS)


@dataclass(frozen=True, kw_only=True)
class _Patterns:
    """What a file of patterns holds."""

    frames: PatternSource
    indexes: NDArray[Any]
    bad_pixels: NDArray[Any] | None
    detector_pixel_m: tuple[float, float] = (NAN, NAN)
    companions: tuple[Path, ...] = ()


@register_format(NAME_H5, container="hdf5", keys=KEYS, detect=detect)
def open_h5(path: Path, options: ScanOptions) -> RawScan:
    """Open patterns in HDF5 with their product.

    Raises
    ------
    DataFormatError
        If something is missing or damaged, or no index is in both files.
    """
    frames, companions = h5_frames(path, "patterns")
    attributes = load_attributes(path, "patterns")
    height, width = (attribute_number(path, attributes, f"detector_pixel_{side}_m") for side in ("height", "width"))
    bad = load_array(path, "bad_pixels") if shape_of(path, "bad_pixels") is not None else None
    found = _Patterns(
        frames=frames,
        indexes=load_array(path, "indexes"),
        bad_pixels=bad,
        detector_pixel_m=(height, width),
        companions=companions,
    )
    return _open(path, NAME_H5, found, options)


@register_format(NAME_NPZ, container="npz", keys=KEYS, detect=detect)
def open_npz(path: Path, options: ScanOptions) -> RawScan:
    """Open patterns in NPZ with their product.

    Raises
    ------
    DataFormatError
        If something is missing or damaged, or no index is in both files.
    """
    shape = npz.member_header(path, "patterns").shape
    if len(shape) != 3 or 0 in shape:
        msg = f"'patterns' in {path} has shape {shape}; expected (B, H, W). Export the patterns again."
        raise DataFormatError(msg)
    found = _Patterns(
        frames=npz.NpzPatterns(path, "patterns", (shape[0], shape[1], shape[2])),
        indexes=npz.load_member(path, "indexes"),
        bad_pixels=npz.load_member(path, "bad_pixels") if "bad_pixels" in npz.member_names(path) else None,
    )
    return _open(path, NAME_NPZ, found, options)


def _open(path: Path, name: str, patterns: _Patterns, options: ScanOptions) -> RawScan:
    count, indexes, bad = patterns.frames.shape[0], patterns.indexes.ravel(), patterns.bad_pixels
    if len(indexes) != count or indexes.dtype.kind not in "iu":
        msg = f"{path} holds {indexes.dtype} {indexes.shape} indexes for {count} patterns; expected as many."
        raise DataFormatError(f"{msg} Export the patterns again.")
    joined = join_product(path, patterns.frames, indexes.astype(np.int64), options.positions_file)
    knows_pixel = joined.pixel_size_m > 0
    found = Measurement(
        format_name=name,
        frames=joined.frames,
        positions=joined.positions,
        geometry=Geometry(
            energy_eV=joined.energy_eV,
            detector_distance_m=joined.distance_m,
            detector_pixel_m=(NAN, NAN) if knows_pixel else patterns.detector_pixel_m,
            pixel_size_m=joined.pixel_size_m,
        ),
        mask=None if bad is None else as_valid(bad, nonzero_is_bad=True),
        probe=joined.probe,
        companions=(*patterns.companions, *joined.companions),
        conversions=joined.conversions,
    )
    return raw_scan_of(path, found, options)
