"""Curves of a report: error along training and refinement, and the Fourier ring correlation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ptycho_dist.evaluate.frc import RingCorrelation
from ptycho_dist.report.source import Source, Table
from ptycho_dist.types import FloatArray

_ONE_SEVENTH = 1 / 7
_AMPLITUDE = "amplitude"
_START = "from_"
_MOST_POINTS = 4000
FOURIER_ERROR, LOSS = "Fourier error", "training loss"
Curve = dict[str, list[float | None]]
"""Numbers of equal length by name; None where one is not known."""


def convergence(source: Source) -> dict[str, Any]:
    """Give the page the error against passes over the scan and seconds, of network and refinement."""
    likelihood = source.settings("training").get("training", {}).get("likelihood", _AMPLITUDE)
    training = training_curve(source.training, is_amplitude=likelihood == _AMPLITUDE)
    refinement = refinement_curve(source)
    return {
        "training": training,
        "training_unit": FOURIER_ERROR if likelihood == _AMPLITUDE else LOSS,
        "refinement": refinement,
        "starts": _starts(source.refinement),
        "chosen": source.metrics.get("refined_from"),
    }


def training_curve(table: Table, *, is_amplitude: bool) -> Curve | None:
    """Error of each epoch of a training; None without one.

    Parameters
    ----------
    table
        What its logger wrote: columns ``epoch``, ``train_loss``, ``epoch_s``.
    is_amplitude
        Whether the loss is that of amplitudes, whose root is the Fourier error of the groups.
    """
    if "train_loss" not in table:
        return None
    rows = np.flatnonzero(np.isfinite(table["train_loss"]))
    if not rows.size:
        return None
    loss = table["train_loss"][rows]
    seconds = _elapsed(table, table["epoch"][rows])
    error = np.asarray(np.sqrt(np.maximum(loss, 0)) if is_amplitude else loss, np.float64)
    return _curve({"pass": table["epoch"][rows] + 1.0, "error": error, "seconds": seconds})


def refinement_curve(source: Source) -> Curve | None:
    """Fourier error of each iteration of a refinement; None without one."""
    table = source.refinement
    if "fourier_error" in table:
        told = {"pass": table["iteration"], "error": table["fourier_error"], "seconds": table["seconds"]}
        return _curve(told)
    product = source.product
    if product is None or "refine" not in product.metadata.provenance.get("payload", {}) or not len(product.losses):
        return None
    unknown = np.full(len(product.losses), np.nan)
    return _curve({"pass": (product.loss_epochs + 1).astype(np.float64), "error": product.losses, "seconds": unknown})


def ring_curve(frc: RingCorrelation | None, pixel_size_m: float) -> dict[str, Any] | None:
    """Give the page a ring correlation without its ring at zero, from which the mean is taken; None without one."""
    if frc is None:
        return None
    rings = slice(1, None)
    half, seventh = frc.resolution_half_bit_px, frc.resolution_one_seventh_px
    curve = {"frequency": frc.frequency[rings], "frc": frc.correlation[rings], "half_bit": frc.half_bit[rings]}
    numbers = {"half_bit_px": half, "one_seventh_px": seventh, "pixel_size_m": pixel_size_m}
    return {
        **_curve(curve),
        "one_seventh": _ONE_SEVENTH,
        **{name: float(value) if np.isfinite(value) else None for name, value in numbers.items()},
    }


def _elapsed(table: Table, epochs: FloatArray) -> FloatArray:
    """Seconds of training at the ends of epochs; NaN where an epoch before has no time."""
    spent = table.get("epoch_s", np.full(len(table["epoch"]), np.nan))
    timed = dict(zip(table["epoch"][np.isfinite(spent)], spent[np.isfinite(spent)], strict=True))
    return np.cumsum([timed.get(epoch, np.nan) for epoch in epochs])


def _starts(table: Table) -> dict[str, Curve]:
    """Errors of the starts that a refinement compared, as long as each was refined; nothing where it had one."""
    found = {}
    for name in table:
        if name.startswith(_START) and np.isfinite(table[name]).any():
            rows = np.isfinite(table[name])
            found[name.removeprefix(_START)] = _curve({"pass": table["iteration"][rows], "error": table[name][rows]})
    return found if len(found) > 1 else {}


def _curve(columns: Mapping[str, FloatArray]) -> Curve:
    """Turn columns into lists, thinned evenly where they are long."""
    count = len(next(iter(columns.values())))
    rows = np.unique(np.linspace(0, count - 1, min(count, _MOST_POINTS)).astype(int))
    return {
        name: [float(value) if np.isfinite(value) else None for value in np.asarray(column)[rows]]
        for name, column in columns.items()
    }
