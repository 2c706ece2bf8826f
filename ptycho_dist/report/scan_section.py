"""The scan in a report: positions with the error of each pattern, shifts that were found, and some patterns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.product_h5 import FLUX, Product
from ptycho_dist.data.scan import Scan
from ptycho_dist.evaluate.fourier import modelled_counts, whole_patterns
from ptycho_dist.evaluate.shifts import shift_facts, shifts_of
from ptycho_dist.report.images import Map, numbers_address
from ptycho_dist.report.source import Source
from ptycho_dist.types import FloatArray, IntArray

_MOST_POINTS = 120_000
_MOST_PATTERNS = 24
_PATTERN_SIDE_PX = 128
_ERRORS = ("normalised_error", "fourier_error")


def scan_section(source: Source, product: Product, scan: Scan | None) -> dict[str, Any]:
    """Give the page the positions, what is known of each pattern, and some patterns as measured and as modelled."""
    values = point_values(source, product)
    shown = _thinned(values.get(_ERRORS[0], values.get(_ERRORS[1])), len(product.positions_px))
    corners = product.positions_px - np.asarray(product.geometry.object_origin_px) + product.geometry.N / 2
    shifts = shifts_of(product, scan)
    return {
        "n_patterns": len(product.positions_px),
        "n_shown": len(shown),
        "y": numbers_address(corners[shown, 0]),
        "x": numbers_address(corners[shown, 1]),
        "numbers": numbers_address(_numbers(source, product)[shown].astype(np.float64)),
        "values": [[name, numbers_address(column[shown])] for name, column in values.items()],
        "shifts": None if shifts is None else _shifts(shifts, shown, product.geometry.pixel_size_m),
        "patterns": [] if scan is None else _patterns(source, product, scan, values),
    }


def point_values(source: Source, product: Product) -> dict[str, FloatArray]:
    """Collect what is known of each pattern, float64 (B,) by name: errors, counts, brightness."""
    count = len(product.positions_px)
    found = {
        name: np.asarray(source.frames[name])
        for name in (*_ERRORS, "counts")
        if name in source.frames and len(source.frames[name]) == count and np.isfinite(source.frames[name]).any()
    }
    flux = product.extras.get(FLUX)
    if flux is not None and np.ptp(flux) > 0:
        found["flux"] = np.asarray(flux, np.float64)
    return found


def chosen_patterns(values: Mapping[str, FloatArray], inside: NDArray[np.bool_], most: int) -> list[tuple[str, int]]:
    """Choose patterns to look at: the best, the median and the worst, then others evenly spread over their errors.

    Parameters
    ----------
    values
        As of :func:`point_values`.
    inside
        bool, shape (B,): which can be modelled.
    most
        How many at most.

    Returns
    -------
    list of (str, int)
        What each is, and its row.
    """
    rows = np.flatnonzero(inside)
    errors = values.get(_ERRORS[0], values.get(_ERRORS[1]))
    if errors is None:
        picked = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int))
        return [("", int(row)) for row in rows[picked]]
    rows = rows[np.isfinite(errors[rows])]
    order = rows[np.argsort(errors[rows], kind="stable")]
    if not len(order):
        return []
    named = {int(order[0]): "best", int(order[len(order) // 2]): "median", int(order[-1]): "worst"}
    spread = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), most)).astype(int))]
    first = [(name, row) for row, name in named.items()]
    others = [("", int(row)) for row in spread if int(row) not in named]
    return first + others[: max(0, most - len(first))]


def _patterns(source: Source, product: Product, scan: Scan, values: Mapping[str, FloatArray]) -> list[dict[str, Any]]:
    inside = whole_patterns(product)
    chosen = chosen_patterns(values, inside, _MOST_PATTERNS)
    if not chosen:
        return []
    rows = np.array([row for _, row in chosen])
    measured = np.asarray(scan.read_patterns(product.indexes[rows]), np.float64)
    modelled = np.asarray(modelled_counts(product, rows), np.float64)
    numbers = _numbers(source, product)
    corners = product.positions_px - np.asarray(product.geometry.object_origin_px) + product.geometry.N / 2
    errors = values.get(_ERRORS[0], values.get(_ERRORS[1]))
    found = []
    for place, (name, row) in enumerate(chosen):
        pair = _pair(measured[place], modelled[place], scan.mask)
        error = None if errors is None or not math.isfinite(errors[row]) else float(errors[row])
        at = {"y": float(corners[row, 0]), "x": float(corners[row, 1])}
        found.append({"name": name, "number": int(numbers[row]), "error": error} | at | pair)
    return found


def _pair(measured: FloatArray, modelled: FloatArray, mask: NDArray[np.bool_] | None) -> dict[str, Any]:
    """Pack a pattern as measured and as modelled, as log10(1 + counts) of one range."""
    pair = [np.log10(1 + np.maximum(_binned(one), 0.0)) for one in (measured, modelled)]
    if mask is not None:
        valid = _binned(mask.astype(np.float64)) > 0
        pair[0] = np.where(valid, pair[0], np.nan)
    top = float(np.nanmax(pair[0])) if np.isfinite(pair[0]).any() else 1.0
    step = math.ceil(measured.shape[0] / _PATTERN_SIDE_PX)
    names = ("measured", "modelled")
    return {
        name: Map(name, name, "log10(1 + counts)", one, (0.0, top or 1.0), "magma", (0.0, 0.0), step).packed()
        for name, one in zip(names, pair, strict=True)
    }


def _binned(pattern: FloatArray) -> FloatArray:
    """Sum over squares of pixels until the side is small enough."""
    step = math.ceil(pattern.shape[0] / _PATTERN_SIDE_PX)
    n = pattern.shape[0] // step
    return np.asarray(pattern[: n * step, : n * step].reshape(n, step, n, step).sum(axis=(1, 3)))


def _numbers(source: Source, product: Product) -> IntArray:
    """Numbers of the patterns in the scan file."""
    stated = source.frames.get("pattern")
    return product.indexes if stated is None or len(stated) != len(product.indexes) else stated.astype(np.int64)


def _thinned(errors: FloatArray | None, count: int) -> IntArray:
    """Rows of at most so many points: all, or evenly spread ones and the worst."""
    if count <= _MOST_POINTS:
        return np.arange(count)
    even = np.linspace(0, count - 1, _MOST_POINTS - 1000).astype(np.int64)
    worst = np.empty(0, np.int64) if errors is None else np.argsort(-np.nan_to_num(errors, nan=-1.0))[:1000]
    return np.unique(np.concatenate([even, worst]))


def _shifts(shifts: FloatArray, shown: IntArray, pixel_size_m: float) -> dict[str, Any]:
    arrows = {"y": numbers_address(shifts[shown, 0]), "x": numbers_address(shifts[shown, 1])}
    return shift_facts(shifts, pixel_size_m) | arrows
