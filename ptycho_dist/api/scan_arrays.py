"""Arrays where a scan is expected: written once, as ``scan.h5`` into the output folder."""

from __future__ import annotations

import filecmp
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.atomic import publish, temporary_name
from ptycho_dist.commands.path_checks import require_output_folder
from ptycho_dist.data.formats import checks
from ptycho_dist.data.formats.ptycho_dist_h5_writer import COPY_ROWS, ScanContent, write_scan_file
from ptycho_dist.errors import ConfigError, DataFormatError

NAME = "scan.h5"
PATTERNS, POSITIONS = "patterns", "positions_px"
_ARRAYS = (PATTERNS, POSITIONS, "probe", "mask")
_NUMBERS = ("pixel_size_m", "energy_eV", "detector_distance_m")
NOT_GIVEN = ("measured_index", "is_electron")
"""Parts of a scan that only readers and conversions know of."""
PARTS = tuple(one.name for one in fields(ScanContent) if one.name not in NOT_GIVEN)
"""What a scan of arrays may have."""


def content_of(path: Path, given: Mapping[str, Any]) -> ScanContent:
    """Check arrays, and make of them what is written as a scan.

    Parameters
    ----------
    path
        File that is to be written, for messages.
    given
        ``patterns`` real (B, N, N), ``positions_px`` (B, 2), and other parts of a scan by name.

    Raises
    ------
    DataFormatError
        If a shape, a type or a value is not such as a scan can have.
    """
    patterns = given[PATTERNS]
    count, N, _ = checks.require_square_patterns(path, PATTERNS, tuple(np.shape(patterns)))
    first = np.asarray(patterns[:1])
    if first.dtype.kind not in "iuf":
        msg = f"patterns for {path} are {first.dtype}; expected real counts. Give intensities."
        raise DataFormatError(msg)
    more = {name: value for name, value in given.items() if name not in (PATTERNS, POSITIONS) and value is not None}
    if "probe" in more:
        more["probe"] = checks.checked_probe(path, "probe", np.asarray(more["probe"]))
    for name in ("probe", "mask", "probe_mask"):
        if name in more and np.shape(more[name])[-2:] != (N, N):
            msg = (
                f"{name} for {path} has shape {np.shape(more[name])}; expected {N} by {N} pixels, as the patterns have."
            )
            raise DataFormatError(msg)
    for name in ("mask", "probe_mask"):
        if name in more:
            more[name] = _checked_mask(path, name, np.asarray(more[name]))
    positions = checks.checked_positions(path, np.asarray(given[POSITIONS]), count)
    return ScanContent(patterns=_chunks(patterns, count), positions_px=positions, **more)


def take_arrays(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part keywords into arrays of a scan, and the settings of a job; without ``patterns`` there are no arrays.

    Raises
    ------
    ConfigError
        If there are arrays but no patterns, or no positions.
    """
    arrays = {name: settings[name] for name in _ARRAYS if _is_array(settings.get(name))}
    others = {name: value for name, value in settings.items() if name not in (PATTERNS, POSITIONS)}
    if not arrays:
        return {}, others
    missing = [name for name in (PATTERNS, POSITIONS) if name not in arrays]
    if missing:
        msg = (
            f"arrays were given for {', '.join(arrays)}, but none for {' and '.join(missing)}; expected patterns "
            "(B, N, N) and positions_px (B, 2), corners (y, x) in object pixels. Give them, or a scan."
        )
        raise ConfigError(msg)
    parts = arrays | {name: settings[name] for name in _NUMBERS if settings.get(name) is not None}
    return parts, {name: value for name, value in others.items() if name not in parts}


def write_arrays(output_dir: Path, parts: Mapping[str, Any], *, overwrite: bool) -> Path:
    """Write arrays as ``OUTPUT_DIR/scan.h5``; a file that is there with the same bits stays as it is.

    Raises
    ------
    ConfigError
        If the folder holds another scan of that name, and ``overwrite`` is not set.
    DataFormatError
        As :func:`content_of`.
    """
    require_output_folder(output_dir)
    path = output_dir / NAME
    content = content_of(path, parts)
    output_dir.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        write_scan_file(temporary, content, path)
        if path.is_file() and filecmp.cmp(path, temporary, shallow=False):
            return path
        if path.exists() and not overwrite:
            msg = (
                f"{path} exists and holds another scan than the arrays; expected the same, or a new folder. Choose "
                "another output_dir, or give --overwrite."
            )
            raise ConfigError(msg)
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") or isinstance(value, list | tuple)


def _chunks(patterns: Any, count: int) -> Iterator[NDArray[Any]]:
    return (np.asarray(patterns[start : start + COPY_ROWS]) for start in range(0, count, COPY_ROWS))


def _checked_mask(path: Path, name: str, mask: NDArray[Any]) -> NDArray[np.bool_]:
    if not np.isin(mask, (0, 1)).all() or not mask.any():
        found = "is 0 everywhere" if not mask.any() else f"holds {mask[~np.isin(mask, (0, 1))][0]}"
        msg = f"{name} for {path} {found}; expected True (or 1) where a pixel counts, else False (or 0). Rewrite it."
        raise DataFormatError(msg)
    return mask.astype(np.bool_)
