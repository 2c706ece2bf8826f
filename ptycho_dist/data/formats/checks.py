"""Checks that all readers share; each failure names file, finding, expectation and fix."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.base import BoolArray, ComplexArray
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray

SMALLEST_SPAN_PX = 1e-3


def require_keys(path: Path, found: Iterable[str], required: Iterable[str], format_name: str) -> None:
    """Raise DataFormatError naming the first key of ``required`` that the file lacks."""
    have = sorted(found)
    for key in required:
        if key not in have:
            msg = (
                f"{path} has no {key!r}; format {format_name} needs it (found: {', '.join(have) or 'nothing'}). "
                f"Re-export the file with {key!r}, or name another reader in data.file_format."
            )
            raise DataFormatError(msg)


def require_square_patterns(path: Path, key: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return ``shape`` as (B, N, N), or raise DataFormatError."""
    if len(shape) != 3 or shape[1] != shape[2]:
        msg = f"{key!r} in {path} has shape {shape}; expected square patterns (B, N, N). Crop and re-export them."
        raise DataFormatError(msg)
    if shape[0] == 0 or shape[1] == 0:
        msg = f"{key!r} in {path} has shape {shape}: no patterns; expected at least one. Re-export the scan."
        raise DataFormatError(msg)
    return shape[0], shape[1], shape[2]


def checked_positions(path: Path, positions: NDArray[Any], n_patterns: int) -> FloatArray:
    """Return positions as float64 (B, 2) after checks of length and finiteness.

    Raises
    ------
    DataFormatError
        If the shape is not (B, 2), or a value is not finite.
    """
    if positions.ndim != 2 or positions.shape[1] != 2 or positions.dtype.kind not in "fiu":
        found = f"shape {positions.shape} and dtype {positions.dtype}"
        msg = f"positions in {path} have {found}; expected real numbers of shape (B, 2). Re-export them."
        raise DataFormatError(msg)
    if len(positions) != n_patterns:
        msg = (
            f"{path} holds {len(positions)} positions for {n_patterns} patterns; expected one position for each "
            "pattern. Re-export both with equal length."
        )
        raise DataFormatError(msg)
    result = positions.astype(np.float64)
    if not np.isfinite(result).all():
        row = int(np.argmin(np.isfinite(result).all(axis=1)))
        msg = f"position {row} in {path} is {result[row].tolist()}; expected finite numbers. Remove that pattern."
        raise DataFormatError(msg)
    return result


def require_equal_lengths(path: Path, one: tuple[str, NDArray[Any]], other: tuple[str, NDArray[Any]]) -> None:
    """Raise DataFormatError if two named arrays differ in shape."""
    if one[1].shape != other[1].shape:
        found = f"{one[0]!r} {one[1].shape} and {other[0]!r} {other[1].shape}"
        msg = f"{path} holds {found}; expected equal lengths. Export them again."
        raise DataFormatError(msg)


def require_pixels(path: Path, positions: FloatArray, N: int) -> None:
    """Raise DataFormatError if the span of positions (B, 2) says that their unit is not pixels."""
    span = float(np.ptp(positions, axis=0).max())
    if len(positions) > 1 and span < SMALLEST_SPAN_PX:
        msg = (
            f"positions in {path} span {span:.3g} px; expected object pixels. They look like metres: "
            "say --position_unit m, and --pixel_size_m where the file lacks it."
        )
        raise DataFormatError(msg)
    if len(positions) > 1 and span > N * len(positions):
        msg = (
            f"positions in {path} span {span:.3g} px, more than {len(positions)} patches of {N} px side by side; "
            "expected overlapping patches. Say --position_unit (such as nm), and --pixel_size_m where it is not known."
        )
        raise DataFormatError(msg)


def checked_probe(path: Path, key: str, probe: NDArray[Any]) -> ComplexArray:
    """Return the probe as complex64 (P, N, N); leading axes are incoherent modes.

    Raises
    ------
    DataFormatError
        If it is not square, not finite, empty or zero everywhere.
    """
    if probe.ndim < 2 or probe.shape[-1] != probe.shape[-2] or probe.size == 0 or probe.dtype.kind not in "cf":
        found = f"shape {probe.shape} and dtype {probe.dtype}"
        msg = f"{key!r} in {path} has {found}; expected complex, square (N, N) or (P, N, N). Re-export it."
        raise DataFormatError(msg)
    result = probe.reshape((-1, *probe.shape[-2:])).astype(np.complex64)
    require_finite(path, key, result)
    if not result.any():
        msg = f"{key!r} in {path} is zero everywhere; expected an illumination. Re-export it."
        raise DataFormatError(msg)
    return result


def checked_probe_mask(path: Path, mask: NDArray[Any], N: int) -> BoolArray:
    """Return where the probe may differ from zero, as bool (N, N).

    Raises
    ------
    DataFormatError
        If the shape is not (N, N), a value is neither 0 nor 1, or all are 0.
    """
    if mask.shape != (N, N) or mask.dtype.kind not in "biuf":
        found = f"shape {mask.shape} and dtype {mask.dtype}"
        msg = f"'probe_mask' in {path} has {found}; expected bool, or 0 and 1, of shape ({N}, {N}). Re-export it."
        raise DataFormatError(msg)
    wrong = mask[(mask != 0) & (mask != 1)]
    if wrong.size:
        msg = f"'probe_mask' in {path} holds {wrong[0]}; expected 0 and 1 only, 1 = light. Give it a sharp edge."
        raise DataFormatError(msg)
    if not mask.any():
        msg = f"'probe_mask' in {path} is 0 everywhere; expected 1 where the probe is. Invert it, or leave it out."
        raise DataFormatError(msg)
    return mask.astype(np.bool_)


def require_finite(path: Path, key: str, values: NDArray[Any]) -> None:
    """Raise DataFormatError if ``values`` holds NaN or inf."""
    finite = np.isfinite(values)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        msg = f"{key!r} in {path} holds {values[where]} at {where}; expected finite numbers. Re-export it."
        raise DataFormatError(msg)


def embed_probe(path: Path, probe: ComplexArray, N: int) -> tuple[ComplexArray, int]:
    """Zero-pad a probe to N by N, centred; return it and the offset of its corner in the frame."""
    small = probe.shape[-1]
    if small > N or (N - small) % 2:
        msg = (
            f"the probe in {path} has {small} pixels a side, the patterns {N}; expected equal sides, or a smaller "
            "probe that can be centred. Crop or pad the probe and re-export it."
        )
        raise DataFormatError(msg)
    offset = (N - small) // 2
    return np.pad(probe, ((0, 0), (offset, offset), (offset, offset))), offset
