"""Reader for PtychoPINN's NPZ scans."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_dist.data.formats import checks, npz
from ptycho_dist.data.formats.base import BoolArray, RawScan, ScanOptions
from ptycho_dist.data.formats.intensity import find_kind
from ptycho_dist.data.formats.registry import register_format
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray

NAME = "ptychopinn_npz"
KEYS = ("xcoords", "ycoords", "diffraction", "diff3d", "probeGuess")


def detect(keys: Collection[str]) -> bool:
    """Tell whether an NPZ file with these members is a PtychoPINN scan, and no reconstruction without patterns."""
    has_patterns = any(key in keys for key in KEYS[2:4])
    return sum(key in keys for key in KEYS) >= 2 and (has_patterns or "objectGuess" not in keys)


@register_format(NAME, container="npz", keys=KEYS, detect=detect)
def open_raw(path: Path, options: ScanOptions) -> RawScan:
    """Open a PtychoPINN scan.

    Parameters
    ----------
    path
        File with ``xcoords``, ``ycoords`` (B,), patch centres in pixels; ``diffraction`` or ``diff3d``
        (B, N, N) or (N, N, B); ``probeGuess`` (N, N) or (P, N, N); optional ``objectGuess``,
        ``_metadata``, ``bad_pixels`` (N, N), and ``probe_mask`` (N, N), 1 where the probe may differ from zero.

    Raises
    ------
    DataFormatError
        If a member is missing, damaged or of the wrong shape.
    """
    names = npz.member_names(path)
    key = "diff3d" if "diff3d" in names and "diffraction" not in names else "diffraction"
    checks.require_keys(path, names, ("xcoords", "ycoords", key, "probeGuess"), NAME)
    x, y = (npz.load_member(path, name).ravel() for name in ("xcoords", "ycoords"))
    if len(x) != len(y):
        msg = f"{path} holds {len(x)} xcoords and {len(y)} ycoords; expected equal lengths. Re-export them."
        raise DataFormatError(msg)
    patterns, conversions = _patterns(path, key, len(x))
    n_patterns, N, _ = patterns.shape
    half = _half(N, names)
    corners = checks.checked_positions(path, np.stack([y, x], axis=1), n_patterns) - half
    conversions.append(f"positions: patch centres (xcoords, ycoords) became corners (y, x) by -{half:g}")
    mask = _mask(path, N, conversions) if "bad_pixels" in names else None
    kind = find_kind(patterns, options)
    conversions.append(f"patterns: {kind.reason}")
    guess = checks.checked_probe(path, "probeGuess", npz.load_member(path, "probeGuess"))
    has_object = "objectGuess" in names and _is_reference(path, corners, N, conversions)
    return RawScan(
        format_name=NAME,
        patterns=patterns,
        fftshift=False,
        square=kind.square,
        positions_px=corners,
        probe=checks.embed_probe(path, guess, N)[0],
        mask=mask,
        probe_mask=npz.load_probe_mask(path, names, N),
        object_source=npz.NpzObject(path, "objectGuess") if has_object else None,
        object_origin_px=np.zeros(2) if has_object else None,
        nphotons=_nphotons(path) if "_metadata" in names else None,
        conversions=tuple(conversions),
    )


def _half(N: int, names: Collection[str]) -> float:
    """Distance of a patch's centre from its corner; Ptychodus puts the centre of N pixels at (N - 1) / 2."""
    by_ptychodus = "diff3d" in names and "bad_pixels" in names
    return (N - 1) / 2 if by_ptychodus else N / 2


def _mask(path: Path, N: int, conversions: list[str]) -> BoolArray:
    bad = npz.load_member(path, "bad_pixels")
    if bad.shape != (N, N) or bad.dtype.kind not in "biu" or (bad != 0).all():
        found = "holds no valid pixel" if bad.shape == (N, N) else f"has shape {bad.shape} and dtype {bad.dtype}"
        msg = f"'bad_pixels' in {path} {found}; expected bool ({N}, {N}), True = bad. Re-export it, or leave it out."
        raise DataFormatError(msg)
    conversions.append(f"mask: {int((bad != 0).sum())} bad pixels left out")
    return np.asarray(bad == 0)


def _patterns(path: Path, key: str, n_positions: int) -> tuple[npz.NpzPatterns, list[str]]:
    shape = npz.member_header(path, key).shape
    pattern_first = len(shape) == 3 and shape[0] == n_positions and shape[1] == shape[2]
    pattern_last = len(shape) == 3 and shape[2] == n_positions and shape[0] == shape[1]
    if pattern_last and not pattern_first:
        moved = checks.require_square_patterns(path, key, (shape[2], shape[0], shape[1]))
        return npz.NpzPatterns(path, key, moved, last_axis=True), [f"{key}: pattern axis moved from last to first"]
    return npz.NpzPatterns(path, key, checks.require_square_patterns(path, key, shape)), []


def _is_reference(path: Path, corners: FloatArray, N: int, conversions: list[str]) -> bool:
    shape = npz.member_header(path, "objectGuess").shape
    if len(shape) < 2 or any(length != 1 for length in shape[:-2]):
        msg = f"'objectGuess' in {path} has shape {shape}; expected one object (H, W). Re-export it, or leave it out."
        raise DataFormatError(msg)
    inside = corners.min() >= -1 and bool((corners.max(axis=0) + N <= np.array(shape[-2:]) + 1).all())
    if not inside:
        conversions.append("objectGuess: left out, because the positions do not index it")
    return inside


def _nphotons(path: Path) -> float | None:
    text = str(npz.load_member(path, "_metadata").reshape(-1)[0])
    try:
        metadata: Any = json.loads(text)
    except json.JSONDecodeError as error:
        msg = f"'_metadata' in {path} is not JSON ({error}); expected a JSON object. Re-export it, or leave it out."
        raise DataFormatError(msg) from error
    physics = metadata.get("physics_parameters", {}) if isinstance(metadata, dict) else {}
    value = physics.get("nphotons") if isinstance(physics, dict) else None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        msg = f"nphotons in '_metadata' of {path} is {value!r}; expected a number > 0. Correct it, or leave it out."
        raise DataFormatError(msg)
    return float(value)
