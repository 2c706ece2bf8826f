"""Reader for tike's NPZ scans: ``data``, ``scan``, ``probe`` and, simulated, ``psi``."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from ptycho_dist.data.formats import checks, npz
from ptycho_dist.data.formats.base import ObjectSource, RawScan, ScanOptions
from ptycho_dist.data.formats.intensity import kind_of_counts
from ptycho_dist.data.formats.registry import register_format
from ptycho_dist.errors import DataFormatError

NAME = "tike_npz"
KEYS = ("data", "scan", "probe")


def detect(keys: Collection[str]) -> bool:
    """Tell whether an NPZ file with these members is a tike scan."""
    return sum(key in keys for key in KEYS) >= 2


@register_format(NAME, container="npz", keys=KEYS, detect=detect)
def open_raw(path: Path, options: ScanOptions) -> RawScan:
    """Open a tike scan.

    Parameters
    ----------
    path
        File with ``data`` ([1,] B, N, N) counts, DC at the corner; ``scan`` ([1,] B, 2), patch
        corners (row, col) in pixels; ``probe`` (..., P, M, M) with M <= N; optional ``probe_mask`` (N, N),
        1 where the probe may differ from zero.

    Raises
    ------
    DataFormatError
        If a member is missing, damaged, or of the wrong shape.
    """
    names = npz.member_names(path)
    checks.require_keys(path, names, KEYS, NAME)
    kind = kind_of_counts(options)
    shape = checks.require_square_patterns(path, "data", _without_angle(npz.member_header(path, "data").shape, 4))
    scan = npz.load_member(path, "scan")
    positions = checks.checked_positions(path, scan.reshape(_without_angle(scan.shape, 3)), shape[0])
    probe = checks.checked_probe(path, "probe", npz.load_member(path, "probe"))
    probe, offset = checks.embed_probe(path, probe, shape[1])
    conversions = [f"patterns: {kind.reason}"] if kind.square else []
    conversions.append("patterns: zero frequency moved from the corner to the centre (fftshift)")
    if offset:
        conversions.append(f"probe: zero-padded by {offset} px a side; positions moved by -{offset} px accordingly")
    object_source = _object_source(path, names)
    return RawScan(
        format_name=NAME,
        patterns=npz.NpzPatterns(path, "data", shape),
        fftshift=True,
        square=kind.square,
        positions_px=positions - offset,
        probe=probe,
        probe_mask=npz.load_probe_mask(path, names, shape[1]),
        object_source=object_source,
        object_origin_px=None if object_source is None else np.zeros(2),
        conversions=tuple(conversions),
    )


def _without_angle(shape: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    return shape[1:] if len(shape) == ndim and shape[0] == 1 else shape


def _object_source(path: Path, names: Collection[str]) -> ObjectSource | None:
    if "psi" not in names:
        return None
    shape = npz.member_header(path, "psi").shape
    if len(shape) < 2 or any(length != 1 for length in shape[:-2]):
        msg = f"'psi' in {path} has shape {shape}; expected one object (H, W). Re-export one slice, or leave it out."
        raise DataFormatError(msg)
    return npz.NpzObject(path, "psi")
