"""Judge a product: Fourier error on all ranks; metrics and picture on rank 0."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.product_h5 import Product, read_product
from ptycho_dist.data.sampler import rows_between
from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.collectives import from_rank_0, together
from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate.area import illumination, scanned_area
from ptycho_dist.evaluate.figures import Overview, draw_overview
from ptycho_dist.evaluate.fourier import FourierErrors, fourier_errors
from ptycho_dist.evaluate.metrics import Placed, ReferenceMetrics, compare_to_reference
from ptycho_dist.evaluate.reference import find_reference
from ptycho_dist.evaluate.report import write_metrics

logger = logging.getLogger(__name__)


def evaluate_product(
    path: Path, scan: Scan | None, output_dir: Path, *, reference: Path | None = None,
    place: tuple[int, int] = (0, 1), facts: dict[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write ``metrics.json`` and ``overview.png`` of a product; all ranks get the metrics.

    Parameters
    ----------
    path
        Product file.
    scan
        Scan it was made from, for the Fourier error.
    output_dir
        Folder of metrics and picture.
    reference
        File with a reference object; without it the scan's own object, if any.
    place
        This rank and the number of ranks.
    facts
        Further entries of the metrics.
    """
    product = together(lambda: read_product(path))
    metrics: dict[str, Any] = {"product": path.name, "n_patterns": len(product.positions_px), **(facts or {})}
    if scan is not None:
        metrics |= _fourier_summary(product, fourier_errors(product, scan, place))

    def report() -> dict[str, Any]:
        everything = metrics | _judge(product, scan, output_dir, reference)
        write_metrics(output_dir / "metrics.json", everything)
        _say(everything)
        return everything

    return from_rank_0(report)


def _fourier_summary(product: Product, errors: FourierErrors) -> dict[str, float]:
    summary = {"fourier_error": errors.error()}
    rows = product.metadata.provenance.get("training", {}).get("train_rows", (0.0, 1.0))
    trained = rows_between(product.positions_px, (float(rows[0]), float(rows[1])))
    if not trained.all():
        summary["fourier_error_trained_rows"] = errors.error(trained)
        summary["fourier_error_unseen_rows"] = errors.error(~trained)
    return summary


def _judge(product: Product, scan: Scan | None, output_dir: Path, reference: Path | None) -> dict[str, float]:
    geometry = product.geometry
    found = find_reference(reference, scan, product.positions_px)
    comparison, name = None, "reference"
    if found is not None:
        name, placed = found
        comparison = _compare(product, placed, name)
    overview = Overview(
        title=product.metadata.name,
        object_=product.object_,
        area=_area(product, Placed(product.object_, geometry.object_origin_px)),
        comparison=comparison,
        reference_name=name,
        probe=product.probe,
        losses=product.losses,
        loss_epochs=product.loss_epochs,
        pixel_size_m=geometry.pixel_size_m,
    )
    draw_overview(output_dir / "overview.png", overview)
    return {} if comparison is None else comparison.summary(geometry.pixel_size_m)


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


def _say(metrics: dict[str, Any]) -> None:
    shown = ("fourier_error", "fourier_error_unseen_rows", "ssim_phase", "frc_resolution_half_bit_px")
    text = ", ".join(f"{name} {metrics[name]:.4f}" for name in shown if name in metrics)
    logger.info("%s", text or "no scan and no reference: nothing to compare with")
