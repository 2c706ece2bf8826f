"""Faults that a survey shows: copied and dark patterns, gaps, hot pixels, light in the corners, lost positions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter, rank_filter
from scipy.spatial import cKDTree

from ptycho_dist.data.formats.base import BoolArray
from ptycho_dist.data.survey.collect import Survey
from ptycho_dist.types import FloatArray

_LEAST_COPIED = 50.0
"""Counts from which on two patterns do not agree in every pixel by chance."""
_LIT_BESIDE = 20.0
"""Counts in each pixel, over all patterns, beside a line that holds none: no matter of chance (e to the -20)."""
_WIDEST_LINE = 0.25
_CORNER_RATIO, _CORNER_SHARE = 20.0, 3.0
_SAME_PLACE_PX = 1e-3
HOT_RATIO = 10.0
"""A pixel so much brighter than all around it is called hot."""
_HOT_SHARE, _LEAST_HOT = 1e-3, 20
_DARK_RATIO = 0.02
_RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
_LEAST_MET, _MET_RATIO = 4, 3
_CERTAINLY_LIT, _FULL_LIGHT = 50.0, 0.25


def copies(survey: Survey, positions_px: FloatArray) -> BoolArray:
    """Tell which patterns (B,) are the same as an earlier one at another place, pixel by pixel.

    Sum, maximum and likeness are compared; patterns with noise agree in none of them to all digits.
    """
    seen: dict[tuple[float, float, float], int] = {}
    found = np.zeros(len(survey), np.bool_)
    for row in range(len(survey)):
        key = (float(survey.totals[row]), float(survey.peaks[row]), float(survey.likeness[row]))
        first = seen.setdefault(key, row)
        is_lit = survey.totals[row] >= _LEAST_COPIED and not survey.lost[row]
        found[row] = is_lit and np.abs(positions_px[first] - positions_px[row]).max() > _SAME_PLACE_PX
    return found


def dark_lines(survey: Survey, valid: BoolArray) -> BoolArray:
    """Tell which pixels (N, N) are in rows or columns without a count, amid lit ones: a gap, or a dead line."""
    rows = _dark_rows(survey.sums, valid)
    columns = _dark_rows(survey.sums.T, valid.T)
    return np.asarray((rows[:, None] | columns[None, :]) & valid)


def _dark_rows(sums: FloatArray, valid: BoolArray) -> BoolArray:
    """Rows (N,) whose valid pixels hold nothing, where the pixels beside them, on both sides, are lit."""
    N = len(sums)
    light = np.where(valid, sums, 0.0)
    is_dark = (light.sum(axis=1) <= 0) & valid.any(axis=1)
    lit = np.flatnonzero(light.sum(axis=1) > 0)
    found = np.zeros(N, np.bool_)
    for low, high in pairwise(lit):
        if 1 < high - low <= 1 + _WIDEST_LINE * N:
            beside = np.minimum(light[low], light[high])
            found[low + 1 : high] = is_dark[low + 1 : high] & bool(beside.max() > _LIT_BESIDE)
    return found


def has_light_in_corners(survey: Survey, valid: BoolArray) -> bool:
    """Tell whether the light is in the corners of the detector, and not in the middle."""
    N = len(survey.sums)
    if not valid.all() or N < 16:
        return False
    n = N // 8
    smooth = gaussian_filter(survey.sums, 1.0)
    middle = float(smooth[N // 2 - n : N // 2 + n, N // 2 - n : N // 2 + n].mean())
    corners = min(float(smooth[y, x].mean()) for y in (slice(n), slice(-n, None)) for x in (slice(n), slice(-n, None)))
    return corners > _CORNER_RATIO * middle and corners > _CORNER_SHARE * float(smooth.mean())


def often_met(positions_px: FloatArray) -> BoolArray:
    """Tell which patterns (B,) are at a place that far more patterns share than is usual in the scan."""
    _, which, counts = np.unique(
        np.round(positions_px / _SAME_PLACE_PX), axis=0, return_inverse=True, return_counts=True
    )
    usual = float(np.median(counts))
    return np.asarray((counts >= max(_LEAST_MET, _MET_RATIO * usual))[which.ravel()])


def is_sudden(survey: Survey, empty: BoolArray, positions_px: FloatArray) -> bool:
    """Tell whether patterns without a count lie beside fully lit ones: behind an opaque object light fades."""
    lit = survey.totals > 0
    usual = float(np.median(survey.totals[lit])) if lit.any() else 0.0
    if not empty.any() or usual < _CERTAINLY_LIT:
        return False
    nearest = cKDTree(positions_px[lit]).query(positions_px[empty])[1]
    border = survey.totals[lit][np.unique(nearest)]
    return bool(np.median(border) > _FULL_LIGHT * usual)


def empty_by_chance(survey: Survey, empty: BoolArray) -> bool:
    """Tell whether so many patterns without a count are what a low dose leaves: exp(-m) of them at m counts."""
    mean = float(np.median(survey.totals)) if (survey.totals > 0).mean() > 0.5 else float(survey.totals.mean())
    expected = len(survey) * float(np.exp(-mean))
    return bool(float(empty.sum()) <= expected + 5 * np.sqrt(expected))


def hot_pixels(survey: Survey, valid: BoolArray) -> BoolArray:
    """Pixels far above the second brightest of their neighbours; speckles of a sampled pattern are wider."""
    sums = np.where(valid, survey.sums, 0.0)
    beside = rank_filter(sums, -2, footprint=_RING, mode="nearest")
    least = _HOT_SHARE * float(sums.sum()) / max(1, int(valid.sum())) + max(_LEAST_HOT, len(survey))
    known = rank_filter(valid.astype(np.int8), 2, footprint=_RING, mode="nearest") > 0  # of 8 neighbours 6 are valid
    return np.asarray(known & (sums > np.maximum(HOT_RATIO * beside, least)))


def dark_pixels(survey: Survey, valid: BoolArray) -> BoolArray:
    """Pixels far below the darkest but one of their neighbours, which are well lit."""
    beside = rank_filter(np.where(valid, survey.sums, 0.0), 1, footprint=_RING, mode="nearest")
    lit = beside > 20.0 * len(survey)
    return np.asarray(lit & (survey.sums < _DARK_RATIO * beside))
