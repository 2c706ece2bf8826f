"""Reader of PtychoNN's NPZ: ``reciprocal`` (counts), ``position`` (y, x) in metres, ``pixelsize`` of the object."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from ptycho_dist.data.formats import checks, npz
from ptycho_dist.data.formats.base import NAN, RawScan, ScanOptions
from ptycho_dist.data.formats.hdf5_numbers import single_number
from ptycho_dist.data.formats.measurement import Geometry, Measurement, Positions
from ptycho_dist.data.formats.prepare import raw_scan_of
from ptycho_dist.data.formats.registry import register_format
from ptycho_dist.errors import DataFormatError

NAME = "ptychonn_npz"
KEYS = ("reciprocal", "position", "pixelsize", "real")


def detect(keys: Collection[str]) -> bool:
    """Tell whether an NPZ file with these members is of PtychoNN."""
    return "reciprocal" in keys


@register_format(NAME, container="npz", keys=KEYS, detect=detect)
def open_raw(path: Path, options: ScanOptions) -> RawScan:
    """Open a scan; the patches of ``real`` are labels for a network, and left alone.

    Raises
    ------
    DataFormatError
        If it has no positions, as sets for training may have, or something is damaged.
    """
    names = npz.member_names(path)
    if "position" not in names:
        msg = (
            f"{path} is an NPZ of PtychoNN without 'position' (it holds {', '.join(names)}): patterns for training, "
            "which no object can be stitched of; expected a position (y, x) in metres for each. Export them with it."
        )
        raise DataFormatError(msg)
    shape = npz.member_header(path, "reciprocal").shape
    if len(shape) != 3 or 0 in shape:
        msg = f"'reciprocal' in {path} has shape {shape}; expected (M, N, N). Export the patterns again."
        raise DataFormatError(msg)
    pixel = single_number(path, "pixelsize", npz.load_member(path, "pixelsize")) if "pixelsize" in names else NAN
    found = Measurement(
        format_name=NAME,
        frames=npz.NpzPatterns(path, "reciprocal", (shape[0], shape[1], shape[2])),
        positions=Positions(values=checks.checked_positions(path, npz.load_member(path, "position"), shape[0])),
        geometry=Geometry(pixel_size_m=pixel if np.isfinite(pixel) else NAN),
    )
    return raw_scan_of(path, found, options)
