"""Counts or amplitudes: how a reader decides, and the conversion of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.base import BoolArray, PatternSource, RawScan, ScanOptions
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import IntArray

SAMPLE_PATTERNS = 64
DEAD_PIXEL = 2**32 - 1
_NARROW_BYTES = 2


def sample_index(n_patterns: int) -> IntArray:
    """Return up to 64 evenly spaced pattern indices, int64."""
    return np.unique(np.linspace(0, n_patterns - 1, min(n_patterns, SAMPLE_PATTERNS)).round().astype(np.int64))


def require_counts(path: Path, options: ScanOptions, format_name: str) -> None:
    """Raise DataFormatError if the user says amplitude of a format that holds counts."""
    if options.intensity_kind == "amplitude":
        msg = (
            f"data.intensity_kind = 'amplitude', but {format_name} files such as {path} hold photon counts. "
            "Set it to 'auto' or 'counts'."
        )
        raise DataFormatError(msg)


def holds_amplitudes(path: Path, patterns: PatternSource, options: ScanOptions) -> bool:
    """Decide by a test on up to 64 patterns: whole numbers are counts, others amplitudes.

    Raises
    ------
    DataFormatError
        If the user's ``intensity_kind`` contradicts the test.
    """
    index = sample_index(patterns.shape[0])
    whole = all(_is_whole(patterns.read(index[i : i + 1])) for i in range(len(index)))
    kind = "counts" if whole else "amplitude"
    if options.intensity_kind not in ("auto", kind):
        finding = "only whole numbers (photon counts)" if whole else "fractional numbers (amplitudes, square roots)"
        msg = (
            f"data.intensity_kind = {options.intensity_kind!r}, but the patterns in {path} are {finding}. "
            "Set it to 'auto', or convert the file to counts."
        )
        raise DataFormatError(msg)
    return not whole


def _is_whole(values: NDArray[Any]) -> bool:
    return values.dtype.kind in "iub" or bool(np.all(values == np.rint(values)))


def read_counts(path: Path, raw: RawScan, index: IntArray) -> NDArray[np.float32]:
    """Read rows as counts, float32 (len(index), N, N), DC at the centre, masked pixels zero.

    Raises
    ------
    DataFormatError
        If a valid pixel is NaN, infinite, negative, or an integer overflow value.
    """
    return read_numbers(path, raw, index).astype(np.float32, copy=False)


def read_numbers(path: Path, raw: RawScan, index: IntArray) -> NDArray[Any]:
    """Read rows as counts in the narrowest type that holds them: integers of up to 2 bytes stay, others are float32.

    Shape (len(index), N, N), DC at the centre, masked pixels zero.

    Raises
    ------
    DataFormatError
        If a valid pixel is NaN, infinite, negative, or an integer overflow value.
    """
    values = raw.patterns.read(index)
    if values.dtype.kind not in "iufb":
        msg = f"patterns in {path} have dtype {values.dtype}; expected real numbers. Re-export them as counts."
        raise DataFormatError(msg)
    if raw.fftshift:
        values = np.fft.fftshift(values, axes=(-2, -1))
    if raw.mask is not None:
        values[:, ~raw.mask] = 0
    _require_valid(path, values, index, raw.mask)
    if values.dtype.kind in "iu" and values.dtype.itemsize <= _NARROW_BYTES and not raw.square:
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    counts = values.astype(np.float32)
    return np.square(counts) if raw.square else counts


def _require_valid(path: Path, values: NDArray[Any], index: IntArray, mask: BoolArray | None) -> None:
    if values.dtype.kind in "ub" and values.dtype.itemsize < 4:
        return
    bad = ~np.isfinite(values) | (values < 0)
    if values.dtype.kind in "iu" and np.iinfo(values.dtype).max >= DEAD_PIXEL:
        bad |= values >= DEAD_PIXEL
    if not bad.any():
        return
    row, y, x = (int(i) for i in np.argwhere(bad)[0])
    state = "no mask" if mask is None else "a mask that leaves this pixel valid"
    msg = (
        f"pattern {int(index[row])} in {path} holds {values[row, y, x]} at pixel ({y}, {x}); expected finite counts "
        f">= 0 below 2^32-1. The file has {state}: correct the value, or mark the pixel in a mask "
        "(ptycho_dist_h5: dataset 'mask', True = valid)."
    )
    raise DataFormatError(msg)
