"""One streaming pass over the patterns of a scan; parts of it, looked at by different ranks, join to the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from ptycho_dist.data.formats.base import BoolArray, RawScan
from ptycho_dist.data.formats.intensity import common_step, read_turned, sample_index
from ptycho_dist.data.formats.stored_order import MeasuredOrder
from ptycho_dist.data.survey.gain import gain_of_noise
from ptycho_dist.types import FloatArray, IntArray, Shard

_BATCH_BYTES = 1 << 25
_EXACT = 2.0**24
"""Whole numbers that float32 still tells apart."""
_FLOAT_LIMITS = (65535.0, 2.0**31, 2.0**32)
"""Maxima of integer types, as float32 holds them."""
_OVERFLOW = 2**32 - 3
"""32-bit numbers from here on mark gaps and dead pixels."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a pass over the patterns of a scan found; values are those of the file, before any conversion.

    Parameters
    ----------
    totals, peaks, likeness
        float64, shape (B,): sum and maximum of the usable values of each pattern; likeness to the mean pattern, from
        0 to 1 (cosine of their square roots).
    unwritten, lost
        bool, shape (B,): patterns that were declared but never written; patterns without a usable value in more than
        half of their valid pixels.
    sums, lowest, highest
        float64, shape (N, N): of the values that are numbers, over all patterns that are not lost.
    saturated, unusable, negative
        int64, shape (N, N): in how many patterns a pixel is at the maximum of its type; holds no number; is below 0
        (where negative values are to be read as 0: is an integer -1 or -2).
    whole
        Share of the nonzero values that are whole numbers.
    step
        Number of which all values are multiples; None where there is none.
    noise_gain
        Counts per photon that the noise of the patterns tells; None where it does not.
    """

    totals: FloatArray
    peaks: FloatArray
    likeness: FloatArray
    unwritten: BoolArray
    lost: BoolArray
    sums: FloatArray
    lowest: FloatArray
    highest: FloatArray
    saturated: IntArray
    unusable: IntArray
    negative: IntArray
    whole: float
    step: float | None
    noise_gain: float | None

    def __len__(self) -> int:
        return len(self.totals)

    @property
    def n_counted(self) -> int:
        """Patterns that are not lost."""
        return int((~self.lost).sum())


@dataclass(frozen=True)
class Sample:
    """What up to 64 evenly spaced patterns say, which every part of a pass needs.

    Parameters
    ----------
    reference
        float64, shape (N, N): square root of the mean pattern, smoothed, of length 1.
    whole, step, noise_gain
        As in :class:`Survey`; of the squares where the values are amplitudes.
    """

    reference: FloatArray
    whole: float
    step: float | None
    noise_gain: float | None


def take_sample(path: Path, raw: RawScan) -> Sample:
    """Look at up to 64 evenly spaced patterns of a scan."""
    rows = sample_index(raw.patterns.shape[0])
    values = np.concatenate([_read(path, raw, rows[i : i + 1])[0] for i in range(len(rows))])
    usable = _usable(values, _at_limit(values), raw.mask)
    counts = np.where(usable, values, 0).astype(np.float64)
    if raw.square:
        counts = np.square(counts)
    positive = counts[counts > 0]
    reference = np.sqrt(np.maximum(uniform_filter(counts.mean(axis=0), 3), 0.0))
    whole = float(np.mean(positive == np.rint(positive))) if positive.size else 1.0
    length = float(np.linalg.norm(reference))
    return Sample(
        reference=reference / length if length > 0 else reference,
        whole=whole,
        step=_whole_step(positive) if whole == 1.0 else common_step(positive),
        noise_gain=gain_of_noise(counts) if usable.all() else None,
    )


def _whole_step(positive: FloatArray) -> float:
    """Return the greatest common divisor of whole numbers; 1 where they are too large to tell, or none."""
    exact = positive[positive < _EXACT]
    return float(np.gcd.reduce(exact.astype(np.int64))) if exact.size else 1.0


def as_stored(raw: RawScan) -> RawScan:
    """See a scan in the order in which its file stores it, in which all patterns are read fastest; for a survey."""
    patterns = raw.patterns
    return replace(raw, patterns=patterns.source) if isinstance(patterns, MeasuredOrder) else raw


def as_measured(survey: Survey, raw: RawScan) -> Survey:
    """Put what was found in the patterns of :func:`as_stored` in the order of the measurement."""
    patterns = raw.patterns
    return of_rows(survey, patterns.place) if isinstance(patterns, MeasuredOrder) else survey


def of_rows(survey: Survey, rows: IntArray) -> Survey:
    """Survey of some patterns (numbers, int64); what it says of pixels stays that of all."""
    names = ("totals", "peaks", "likeness", "unwritten", "lost")
    return replace(survey, **{name: getattr(survey, name)[rows] for name in names})


def survey_rows(path: Path, raw: RawScan, share: Shard, sample: Sample) -> Survey:
    """Look at some rows of a scan.

    Parameters
    ----------
    path
        The scan file, for messages.
    raw
        The scan.
    share
        Rows to look at.
    sample
        What :func:`take_sample` says of the scan.
    """
    N = raw.patterns.shape[1]
    unwritten = np.isin(np.arange(share.start, share.stop), raw.patterns.unwritten())
    pixels = _Pixels.empty(N)
    of_frames: list[NDArray[np.float64]] = [np.empty((3, 0))]
    lost = [np.zeros(0, np.bool_)]
    batch = max(1, _BATCH_BYTES // (8 * N * N))
    for start in range(share.start, share.stop, batch):
        values, marks = _read(path, raw, np.arange(start, min(start + batch, share.stop)))
        at_limit = _at_limit(values)
        usable = _usable(values, at_limit, raw.mask)
        of_frames.append(_frames(values, usable, sample.reference))
        gone = _lost(usable, raw.mask)
        lost.append(gone)
        if gone.any():
            values, at_limit, marks = values[~gone], at_limit[~gone], marks[~gone]
        pixels.add(values, at_limit, marks)
    totals, peaks, likeness = np.concatenate(of_frames, axis=1)
    return Survey(
        totals=totals,
        peaks=peaks,
        likeness=likeness,
        unwritten=unwritten,
        lost=np.concatenate(lost),
        **{field.name: getattr(pixels, field.name) for field in fields(pixels)},
        whole=sample.whole,
        step=sample.step,
        noise_gain=sample.noise_gain,
    )


def _read(path: Path, raw: RawScan, rows: IntArray) -> tuple[NDArray[Any], BoolArray]:
    """Read rows as the file has them, but negative values of a subtracted dark as 0 where they will be read so.

    Returns
    -------
    ndarray, shape (n, N, N)
        Values.
    ndarray, bool, shape (n, N, N)
        Where integers were -1 or -2 before, by which detectors mark gaps and dead pixels.
    """
    values = read_turned(path, raw, rows)
    if not raw.clips_negative or values.dtype.kind not in "if":
        return values, _none(values)
    marks = (values == -1) | (values == -2) if values.dtype.kind == "i" else _none(values)
    return np.maximum(values, 0), np.asarray(marks)


def join(parts: Sequence[Survey]) -> Survey:
    """Join what was found in consecutive rows."""
    filled = [part for part in parts if len(part)] or list(parts[:1])
    first = filled[0]

    def along(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in filled])

    def over(name: str, reduce: Any) -> NDArray[Any]:
        return np.asarray(reduce.reduce([getattr(part, name) for part in filled]))

    return Survey(
        **{name: along(name) for name in ("totals", "peaks", "likeness", "unwritten", "lost")},
        **{name: over(name, np.add) for name in ("sums", "saturated", "unusable", "negative")},
        lowest=over("lowest", np.minimum),
        highest=over("highest", np.maximum),
        whole=first.whole,
        step=first.step,
        noise_gain=first.noise_gain,
    )


@dataclass
class _Pixels:
    """Running statistics of each pixel; see :class:`Survey`."""

    sums: FloatArray
    lowest: FloatArray
    highest: FloatArray
    saturated: IntArray
    unusable: IntArray
    negative: IntArray

    @classmethod
    def empty(cls, N: int) -> _Pixels:
        """Return statistics of no pattern."""
        counts = [np.zeros((N, N), np.int64) for _ in range(3)]
        return cls(np.zeros((N, N)), np.full((N, N), np.inf), np.full((N, N), -np.inf), *counts)

    def add(self, values: NDArray[Any], at_limit: BoolArray, marks: BoolArray) -> None:
        """Take in patterns (n, N, N): where they are at the maximum of their type, and where they were marked."""
        if not len(values):
            return
        self.saturated += at_limit.sum(axis=0)
        self.negative += marks.sum(axis=0)
        if values.dtype.kind != "f":
            self.sums += values.sum(axis=0, dtype=np.float64)
            self.lowest = np.minimum(self.lowest, values.min(axis=0))
            self.highest = np.maximum(self.highest, values.max(axis=0))
            if values.dtype.kind == "i":
                self.negative += (values < 0).sum(axis=0)
            return
        finite = np.isfinite(values)
        self.unusable += (~finite).sum(axis=0)
        self.negative += (values < 0).sum(axis=0)
        self.sums += np.where(finite, values, 0).sum(axis=0, dtype=np.float64)
        self.lowest = np.minimum(self.lowest, np.where(finite, values, np.inf).min(axis=0))
        self.highest = np.maximum(self.highest, np.where(finite, values, -np.inf).max(axis=0))


def _at_limit(values: NDArray[Any]) -> BoolArray:
    """Tell which values are the maximum of an integer type."""
    if values.dtype.kind in "iu":
        most = np.iinfo(values.dtype).max
        return np.asarray(values >= (_OVERFLOW if most >= _OVERFLOW else most))
    if values.dtype.kind != "f" or values.max(initial=0) < _FLOAT_LIMITS[0]:
        return _none(values)
    return np.asarray(np.isin(values, _FLOAT_LIMITS))


def _none(values: NDArray[Any]) -> BoolArray:
    return np.zeros(values.shape, np.bool_)


def _usable(values: NDArray[Any], at_limit: BoolArray, mask: BoolArray | None) -> BoolArray:
    """Tell which values (n, N, N) are counts: numbers of at least 0, below the maximum of their type, not masked."""
    usable = ~at_limit
    if values.dtype.kind == "f":
        usable &= np.isfinite(values)
    if values.dtype.kind in "if":
        usable &= values >= 0
    return usable if mask is None else usable & mask


def _lost(usable: BoolArray, mask: BoolArray | None) -> BoolArray:
    """Tell of which patterns (n,) more than half of the valid pixels hold no usable value."""
    valid = usable.shape[1] * usable.shape[2] if mask is None else int(mask.sum())
    return np.asarray(usable.sum(axis=(1, 2)) < valid / 2)


def _frames(values: NDArray[Any], usable: BoolArray, reference: FloatArray) -> NDArray[np.float64]:
    """Sum, maximum and likeness (3, n) of patterns."""
    known = np.where(usable, values, 0)
    counts = known.astype(np.float32)
    totals = counts.sum(axis=(1, 2), dtype=np.float64)
    peaks = known.max(axis=(1, 2)).astype(np.float64)
    # In single precision some of 100,000 patterns would agree to the last digit by chance, and look copied.
    roots = np.sqrt(counts).reshape(len(counts), -1).astype(np.float64)
    # einsum adds each row in one order, whatever other rows there are; a matrix product does not.
    overlap = np.einsum("bp,p->b", roots, reference.astype(np.float64).ravel())
    return np.stack([totals, peaks, overlap / np.sqrt(np.maximum(totals, 1e-30))])
