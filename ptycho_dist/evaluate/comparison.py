"""Metrics against a reference, and the picture of a product."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

from ptycho_dist.data.formats.product_h5 import COVERAGE, DISAGREEMENT, NORMALISED, UNCERTAINTY, Product
from ptycho_dist.data.scan import Scan
from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate.figures import Overview, draw_overview
from ptycho_dist.evaluate.metrics import METRIC_NAMES, Placed, ReferenceMetrics, compare_to_reference
from ptycho_dist.evaluate.metrics_file import NotMeasured
from ptycho_dist.evaluate.placement import find_reference
from ptycho_dist.evaluate.shifts import shifts_of
from ptycho_dist.evaluate.window import shrunk, window_of, within
from ptycho_dist.types import FloatArray
from ptycho_dist.version import package_version

logger = logging.getLogger(__name__)

REFUSAL = "reference_refused"
"""Metric that says why a reference is not compared with."""
WINDOW = "compared_window_px"
"""Metric of a large object: first row and column, rows and columns of what was compared and drawn pixel by pixel."""
_SHARE = 0.3
_SMOOTH_PX = 4.0


def compare_and_draw(
    product: Product, scan: Scan | None, picture: Path, reference: Path | None
) -> tuple[dict[str, Any], Overview]:
    """Draw the picture of a product; return its metrics against a reference, none without one, and what is drawn.

    Parameters
    ----------
    product
        What to compare.
    scan
        Scan it was made from; its own object is the reference where no other is given.
    picture
        File to draw.
    reference
        File with a reference object.
    """
    overview, refusal = _overview_and_refusal(product, scan, reference)
    draw_overview(picture, overview)
    if overview.comparison is not None:
        window = window_of(product)
        where = {} if window is None else {WINDOW: [*window.corner, *window.shape]}
        return overview.comparison.summary(product.geometry.pixel_size_m) | where, overview
    if refusal is None:
        return {}, overview
    return {REFUSAL: refusal} | dict.fromkeys(METRIC_NAMES, NotMeasured(f"see {REFUSAL}")), overview


def overview_of(product: Product, scan: Scan | None, reference: Path | None) -> Overview:
    """Gather what the picture of a product shows; parameters as of :func:`compare_and_draw`."""
    return _overview_and_refusal(product, scan, reference)[0]


def _title(product: Product, whole_px: tuple[int, ...]) -> str:
    """Name of the product, what it was refined from or predicted with where that was chosen, what is shown of it."""
    provenance = product.metadata.provenance
    told = [f"refined from {provenance['refined_from']}"] if "refined_from" in provenance else []
    told += ["predicted by a network"] if "inference" in provenance.get("payload", {}) else []
    told += [f"{provenance['probe_used']} probe"] if "probe_used" in provenance else []
    shown_px = product.object_.shape
    told += [f"{shown_px[0]} x {shown_px[1]} of {whole_px[0]} x {whole_px[1]} pixels"] if shown_px != whole_px else []
    return ", ".join([product.metadata.name, *told])


def _made(product: Product) -> str:
    """Say how much was measured, and by which version and when this is drawn."""
    N, errors = product.geometry.N, product.losses
    is_refined = "refine" in product.metadata.provenance.get("payload", {}) and len(errors)
    known = f", Fourier error {errors[-1]:.4f} after {len(errors)} iterations" if is_refined else ""
    drawn = f"ptycho_dist {package_version()}, drawn {datetime.now(UTC):%Y-%m-%d}"
    return f"{len(product.positions_px)} patterns of {N} x {N}{known}; {drawn}"


def _overview_and_refusal(whole: Product, scan: Scan | None, reference: Path | None) -> tuple[Overview, str | None]:
    window = window_of(whole)
    product = whole if window is None else within(whole, window)
    geometry = product.geometry
    area = _area(product, Placed(product.object_, geometry.object_origin_px))
    name, comparison, refusal = "reference", None, None
    try:
        found = find_reference(reference, scan, product, area)
        if found is not None:
            name, placed = found
            comparison = _compare(product, placed)
    except ConfigError as error:
        refusal = str(error)
        logger.warning("metrics against the %s are left out: %s", name, error)
    refined = "refine" in product.metadata.provenance.get("payload", {})
    return Overview(
        title=_title(product, whole.object_.shape),
        told=(_made(product),),
        object_=product.object_,
        area=area,
        comparison=comparison,
        reference_name=name,
        probe=product.probe,
        losses=product.losses,
        loss_epochs=product.loss_epochs + int(refined),  # the log counts iterations from 1, epochs from 0
        loss_name="Fourier error" if refined else "training loss",
        loss_unit="iteration" if refined else "epoch",
        pixel_size_m=geometry.pixel_size_m,
        coverage=product.extras.get(COVERAGE),
        disagreement=product.extras.get(DISAGREEMENT),
        uncertainty=product.extras.get(UNCERTAINTY),
        verdict=product.verdict,
        positions_px=product.positions_px,
        normalised_errors=product.extras.get(NORMALISED),
        shifts_px=shifts_of(product, scan),
        whole=None if window is None else shrunk(whole.object_),
    ), refusal


def compare_in_place(
    found: Placed, reference: Placed, area_of: Callable[[Placed], NDArray[np.bool_]]
) -> ReferenceMetrics:
    """Compare; where a shift of whole pixels comes out, again in the place that it gives: no edge moves inwards.

    Parameters
    ----------
    found, reference
        Objects with their origins.
    area_of
        Tells the scanned area, bool, in the frame of a reference.
    """
    first = compare_to_reference(found, reference, area_of(reference))
    y, x = (round(shift) for shift in first.registered.shift_px)
    if not (y or x):
        return first
    moved = Placed(reference.object_, (reference.origin_px[0] - y, reference.origin_px[1] - x))
    return compare_to_reference(found, moved, area_of(moved))


def _compare(product: Product, reference: Placed) -> ReferenceMetrics:
    own = Placed(product.object_, product.geometry.object_origin_px)
    return compare_in_place(own, reference, partial(_area, product))


def _area(product: Product, placed: Placed) -> NDArray[np.bool_]:
    rows, columns = placed.object_.shape
    origin = np.asarray(placed.origin_px)
    return scanned_area(illumination(product.positions_px, product.probe, (rows, columns), origin))


def illumination(
    positions_px: FloatArray, probe: NDArray[np.complexfloating], shape: tuple[int, int], origin_px: FloatArray
) -> FloatArray:
    """Sum the probe's intensity over all scan points, rounded to whole pixels.

    Parameters
    ----------
    positions_px
        Patch corners (B, 2), (y, x), in object pixels.
    probe
        Modes (P, N, N).
    shape, origin_px
        Object (H, W), and the position of its pixel (0, 0).

    Returns
    -------
    ndarray, float64, shape (H, W)
        Intensity in the unit of the probe squared; light outside the object is left out.
    """
    N = probe.shape[-1]
    corner = np.rint(positions_px - np.asarray(origin_px)).astype(np.int64) + N  # the frame has a margin of N
    frame = (shape[0] + 2 * N, shape[1] + 2 * N)
    seen = ((corner >= 0) & (corner < frame)).all(axis=1)
    visits = np.zeros(frame)
    np.add.at(visits, tuple(corner[seen].T), 1.0)
    spread = fftconvolve(visits, (np.abs(probe) ** 2).sum(axis=0), mode="full")
    return np.asarray(np.maximum(spread[N : N + shape[0], N : N + shape[1]], 0.0), dtype=np.float64)


def scanned_area(light: FloatArray) -> NDArray[np.bool_]:
    """Tell where an illumination (H, W), smoothed over 4 pixels, is at least 0.3 of its maximum."""
    smooth = gaussian_filter(light, _SMOOTH_PX)
    return np.asarray((smooth >= _SHARE * smooth.max()) & (smooth > 0))
