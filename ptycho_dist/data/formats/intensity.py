"""Counts or amplitudes: how a reader decides, and the conversion of rows."""

from __future__ import annotations

from dataclasses import dataclass
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
WHOLE_SHARE = 0.99
"""Share of the nonzero values that must be whole for counts: a few fractional pixels do not turn a scan."""
_NEAR_WHOLE = 0.02
_LARGEST_STEP = 500
"""Values of so many steps or more do not tell a step, for float32 rounds them."""
_ENOUGH_VALUES = 200


@dataclass(frozen=True)
class Kind:
    """What the values of the patterns are taken for.

    Parameters
    ----------
    square
        Whether they are amplitudes, whose squares are counts.
    reason
        Why, in words; also how sure it is.
    is_sure
        Whether the values, or the user, leave no doubt.
    """

    square: bool
    reason: str
    is_sure: bool = True


def sample_index(n_patterns: int) -> IntArray:
    """Return up to 64 evenly spaced pattern indices, int64."""
    return np.unique(np.linspace(0, n_patterns - 1, min(n_patterns, SAMPLE_PATTERNS)).round().astype(np.int64))


def kind_of_counts(options: ScanOptions) -> Kind:
    """Kind of values in a format that holds counts, unless the user says amplitude."""
    square = options.intensity_kind == "amplitude"
    return Kind(square, "amplitudes, as intensity_kind says, squared to counts" if square else "counts")


def find_kind(patterns: PatternSource, options: ScanOptions) -> Kind:
    """Settle whether a file holds counts or amplitudes: as the user says, else by the values of up to 64 patterns.

    Counts are whole numbers, or whole numbers of one step (normalised), or whole numbers less one constant
    (dark-subtracted); the squares of amplitudes are. Where neither is so they are taken as amplitudes, which is what
    PtychoPINN writes, and the reason says that this is a guess.
    """
    if options.intensity_kind != "auto":
        square = options.intensity_kind == "amplitude"
        return Kind(square, f"{options.intensity_kind}, as intensity_kind says{', squared to counts' * square}")
    index = sample_index(patterns.shape[0])
    values = [patterns.read(index[i : i + 1]) for i in range(len(index))]
    if values[0].dtype.kind in "iub":
        return Kind(square=False, reason="whole numbers, taken as counts")
    positive = np.concatenate([_positive(one) for one in values])
    whole = float(np.mean(positive == np.rint(positive))) if positive.size else 1.0
    if whole >= WHOLE_SHARE:
        return Kind(square=False, reason=f"whole numbers ({whole:.2%} of the values), taken as counts")
    return _kind_of_fractions(positive, whole)


def _kind_of_fractions(positive: NDArray[np.float64], whole: float) -> Kind:
    step = common_step(positive)
    if step is not None:
        return Kind(square=False, reason=f"multiples of {step:.4g}, taken as normalised counts")
    step = common_step(positive**2)
    if step is not None:
        reason = f"values whose squares are multiples of {step:.4g}, taken as amplitudes and squared to counts"
        return Kind(square=True, reason=reason)
    fraction, same = _common_fraction(positive)
    if same >= WHOLE_SHARE:
        reason = f"whole numbers less {(-fraction) % 1:.3g} ({same:.2%} of the values), taken as counts"
        return Kind(square=False, reason=reason)
    reason = (
        f"fractional values ({whole:.0%} are whole), taken as amplitudes, as PtychoPINN writes them, and squared to "
        "counts; this is a guess: say intensity_kind = 'counts' or 'amplitude'"
    )
    return Kind(square=True, reason=reason, is_sure=False)


def common_step(values: NDArray[np.floating]) -> float | None:
    """Return the number of which all values are whole multiples, as normalised counts are; None if there is none.

    Parameters
    ----------
    values
        Positive numbers, any shape. Those above 500 times the smallest tell nothing and are left out.
    """
    values = np.asarray(values, np.float64).ravel()
    if not values.size:
        return None
    smallest = float(values.min())
    small = values[values < _LARGEST_STEP * smallest]
    if small.size < min(_ENOUGH_VALUES, 0.5 * values.size):
        return None
    for divisor in (1, 2, 3, 4, 5):
        steps = small * (divisor / smallest)
        if np.mean(np.abs(steps - np.rint(steps)) < _NEAR_WHOLE) >= WHOLE_SHARE and steps.max() >= 2:
            units = np.rint(steps)
            return float((small * units).sum() / (units * units).sum())
    return None


def _positive(values: NDArray[Any]) -> NDArray[np.float64]:
    flat = values.ravel()
    return np.asarray(flat[np.isfinite(flat) & (flat > 0)], np.float64)


def _common_fraction(positive: NDArray[np.float64]) -> tuple[float, float]:
    """Fraction that most values have in common, and the share of the values that have it."""
    small = positive[positive < 1e4]  # float32 keeps three digits after the point below
    if not small.size:
        return 0.0, 0.0
    fractions = np.mod(small, 1.0)
    common = float(np.median(fractions))
    distance = np.abs(fractions - common)
    return common, float(np.mean(np.minimum(distance, 1 - distance) < _NEAR_WHOLE / 10))


def read_counts(path: Path, raw: RawScan, index: IntArray) -> NDArray[np.float32]:
    """Read rows as counts, float32 (len(index), N, N), DC at the centre, masked pixels zero.

    Raises
    ------
    DataFormatError
        If a valid pixel is NaN, infinite, negative, or an integer overflow value.
    """
    return read_numbers(path, raw, index).astype(np.float32, copy=False)


def read_turned(path: Path, raw: RawScan, index: IntArray) -> NDArray[Any]:
    """Read rows as the file has them (len(index), N, N), but turned, with DC at the centre.

    Raises
    ------
    DataFormatError
        If they are no real numbers.
    """
    values = raw.patterns.read(index)
    if values.dtype.kind not in "iufb":
        msg = f"patterns in {path} have dtype {values.dtype}; expected real numbers. Re-export them as counts."
        raise DataFormatError(msg)
    if raw.fftshift:
        values = np.fft.fftshift(values, axes=(-2, -1))
    turned = raw.turn(values)
    return turned if turned is values else np.array(turned)


def read_numbers(path: Path, raw: RawScan, index: IntArray) -> NDArray[Any]:
    """Read rows as counts in the narrowest type that holds them: integers of up to 2 bytes stay, others are float32.

    Shape (len(index), N, N), DC at the centre, masked pixels zero.

    Raises
    ------
    DataFormatError
        If a valid pixel is NaN, infinite, negative, or an integer overflow value.
    """
    values = read_turned(path, raw, index)
    if raw.mask is not None:
        values[:, ~raw.mask] = 0
    if raw.clips_negative:
        np.maximum(values, 0, out=values)  # NaN stays NaN
    _require_valid(path, values, index, raw.mask)
    is_plain = not raw.square and raw.counts_per_photon == 1.0
    if values.dtype.kind in "iu" and values.dtype.itemsize <= _NARROW_BYTES and is_plain:
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    counts = values.astype(np.float32)
    if raw.square:
        counts = np.square(counts)
    return counts if raw.counts_per_photon == 1.0 else counts / np.float32(raw.counts_per_photon)


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
    fix = "--mask_saturated true leaves such pixels out, --mask FILE those of a mask"
    if values[row, y, x] < 0:
        fix += ", --intensity_kind counts takes negative values (of a subtracted dark) as 0"
    msg = (
        f"pattern {int(index[row])} in {path} holds {values[row, y, x]} at pixel ({y}, {x}); expected finite counts "
        f">= 0 below 2^32-1. The file has {state}: {fix}; so does the dataset 'mask' (True = valid) of ptycho_dist_h5."
    )
    raise DataFormatError(msg)
