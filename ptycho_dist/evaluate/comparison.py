"""Metrics against a reference, and the picture of a product."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.product_h5 import COVERAGE, DISAGREEMENT, Product
from ptycho_dist.data.scan import Scan
from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate.figures import Overview, draw_overview
from ptycho_dist.evaluate.metrics import Placed, ReferenceMetrics, compare_to_reference
from ptycho_dist.evaluate.reference import find_reference
from ptycho_dist.evaluate.scanned_area import illumination, scanned_area

logger = logging.getLogger(__name__)


def judge(product: Product, scan: Scan | None, picture: Path, reference: Path | None) -> dict[str, float]:
    """Draw the picture of a product; return its metrics against a reference, none without one.

    Parameters
    ----------
    product
        What to judge.
    scan
        Scan it was made from; its own object is the reference where no other is given.
    picture
        File to draw.
    reference
        File with a reference object.
    """
    overview = overview_of(product, scan, reference)
    draw_overview(picture, overview)
    comparison = overview.comparison
    return {} if comparison is None else comparison.summary(product.geometry.pixel_size_m)


def overview_of(product: Product, scan: Scan | None, reference: Path | None) -> Overview:
    """Gather what the picture of a product shows; parameters as of :func:`judge`."""
    geometry = product.geometry
    found = find_reference(reference, scan, product.positions_px)
    comparison, name = None, "reference"
    if found is not None:
        name, placed = found
        comparison = _compare(product, placed, name)
    return Overview(
        title=product.metadata.name,
        object_=product.object_,
        area=_area(product, Placed(product.object_, geometry.object_origin_px)),
        comparison=comparison,
        reference_name=name,
        probe=product.probe,
        losses=product.losses,
        loss_epochs=product.loss_epochs,
        loss_name="Fourier error" if _is_refined(product) else "training loss",
        pixel_size_m=geometry.pixel_size_m,
        coverage=product.extras.get(COVERAGE),
        disagreement=product.extras.get(DISAGREEMENT),
    )


def _is_refined(product: Product) -> bool:
    return "refine" in product.metadata.provenance.get("payload", {})


def _compare(product: Product, reference: Placed, name: str) -> ReferenceMetrics | None:
    """Compare over the scanned area; None, with a warning, where that is too small to judge."""
    found = Placed(product.object_, product.geometry.object_origin_px)
    try:
        return compare_to_reference(found, reference, _area(product, reference))
    except ConfigError as error:
        logger.warning("metrics against the %s are left out: %s", name, error)
        return None


def _area(product: Product, placed: Placed) -> NDArray[np.bool_]:
    rows, columns = placed.object_.shape
    origin = np.asarray(placed.origin_px)
    return scanned_area(illumination(product.positions_px, product.probe, (rows, columns), origin))
