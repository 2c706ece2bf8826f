"""Where the normalised error goes: metrics, a table of all patterns, the product."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_dist.atomic import atomic_path
from ptycho_dist.data.formats.product_h5 import NORMALISED, Product
from ptycho_dist.data.survey.gain import Gain
from ptycho_dist.evaluate.fourier import FourierErrors
from ptycho_dist.evaluate.metrics_file import NotMeasured
from ptycho_dist.evaluate.normalised import Normalised
from ptycho_dist.types import IntArray

_NAMES = ("normalised_error", "normalised_error_median", "normalised_error_p95")
_MOST_NAMED = 100
_COLUMNS = ("pattern", "y_px", "x_px", "counts", "fourier_error", "normalised_error")


def noise_summary(normalised: Normalised | None, gain: Gain) -> dict[str, Any]:
    """Metrics of a normalised error; without one, the reason why there is none.

    Parameters
    ----------
    normalised
        None where the counts per photon are unknown.
    gain
        Counts per photon of the patterns, and how they are known.
    """
    if normalised is None:
        unknown = NotMeasured(f"{gain.source}; say --counts_per_photon")
        return dict.fromkeys((*_NAMES, "counts_per_photon"), unknown)
    known = normalised.frames[np.isfinite(normalised.frames)]
    spread = [float(np.median(known)), float(np.percentile(known, 95))] if known.size else [NotMeasured("none")] * 2
    values = [normalised.error if known.size else NotMeasured(normalised.verdict), *spread]
    return {
        **dict(zip(_NAMES, values, strict=True)),
        "verdict": normalised.verdict,
        "explains_patterns": normalised.is_good if normalised.is_told else NotMeasured(normalised.verdict),
        "frames_standing_out": normalised.standing_out[:_MOST_NAMED].tolist(),
        "n_frames_standing_out": len(normalised.standing_out),
        "unknowns_per_datum": normalised.unknowns / normalised.data if normalised.data > 0 else NotMeasured("no data"),
        "overlap": normalised.overlap if normalised.overlap == normalised.overlap else NotMeasured("a single pattern"),
        "counts_per_photon": gain.counts_per_photon,
        "counts_per_photon_source": gain.source,
    }


def write_frames(
    path: Path, product: Product, file_numbers: IntArray, errors: FourierErrors, normalised: Normalised | None
) -> None:
    """Write a table with a row for each pattern: place, counts and errors; empty where a pattern does not count.

    Its first column is the number in the scan file, of ``file_numbers``: int64, those of all patterns of the scan.
    """
    counted, numbers = errors.counts > 0, file_numbers[product.indexes]
    fourier = np.sqrt(errors.misfit / np.where(counted, errors.counts, np.nan))
    noise = np.full(len(counted), np.nan) if normalised is None else normalised.frames
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(_COLUMNS)
        for row, (y, x) in enumerate(product.positions_px):
            told = [f"{value:.6g}" if np.isfinite(value) else "" for value in (fourier[row], noise[row])]
            table.writerow([int(numbers[row]), f"{y:.3f}", f"{x:.3f}", f"{errors.counts[row]:.6g}", *told])


def with_verdict(product: Product, normalised: Normalised) -> Product:
    """Product that says how well it explains its patterns."""
    return replace(
        product,
        verdict=normalised.verdict,
        extras=product.extras | {NORMALISED: normalised.frames},
    )
