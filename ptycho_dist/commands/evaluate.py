"""Metrics and pictures of a reconstruction."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from ptycho_dist.commands.path_checks import require_output_folder, require_product, require_reference
from ptycho_dist.commands.registry import Command, Typed, register_command
from ptycho_dist.commands.startup import make_request, own_section, required_path, run_alone
from ptycho_dist.config.precedence import RunRequest
from ptycho_dist.config.report import ReportConfig
from ptycho_dist.config.schema import DataConfig
from ptycho_dist.errors import DataFormatError
from ptycho_dist.run_folder import origin_of, product_of

logger = logging.getLogger(__name__)

COMMAND = Command(
    name="evaluate",
    summary="metrics and pictures of a reconstruction",
    description="Compute the Fourier error (with the scan) and PSNR, SSIM, FRC (with a reference) of a product. "
    "The\nscan and reference of an earlier evaluation are found again, and what only that one found stays.",
    example="ptycho-dist evaluate runs/one --reference truth.npz",
    order=9,
    operand="product",
    operand_help="Folder of a run, or a product file such as reconstruction.h5 or network.h5.",
    paths={
        "scan": "Scan that the product was made from; the one it was made from where not given.",
        "reference": "Product or NPZ with a reference object; the one of the last evaluation where not given.",
        "output_dir": "Folder for metrics and pictures; that of the product where not given.",
    },
    stages=(),
    sections={"data": DataConfig, "page": ReportConfig},
    main_flags=(
        "scan",
        "reference",
        "output_dir",
        "report",
        "overwrite",
    ),
    replaces="Replace metrics and pictures as a whole; else what they say besides stays.",
)


@register_command(COMMAND)
def evaluate(typed: Typed) -> int:
    """Compute the metrics of a product."""
    product = product_of(required_path(typed, "product"))
    request = replace(make_request(typed), product=product)
    folder = request.output_dir or product.parent
    require_output_folder(folder)
    require_reference(request.reference)
    require_product(product)
    report = ReportConfig(**own_section(typed, "page", ReportConfig)).report
    return run_alone(
        typed, folder, lambda progress: _evaluate(replace(request, progress=progress), product, report=report)
    )


def _evaluate(request: RunRequest, product: Path, *, report: bool) -> None:
    """Evaluate with the scan and the reference of the last evaluation, where none are given and they still serve."""
    from ptycho_dist.results import run_evaluate

    origin = origin_of(product)
    known = request if request.reference else replace(request, reference=_if_there(origin.reference))
    found = known if known.scan else replace(known, scan=_if_there(origin.scan))
    try:
        run_evaluate(found, report=report)
    except DataFormatError as error:
        if request.scan is not None or found.scan is None:
            raise
        logger.warning("the scan of the last evaluation no longer serves, and is left out: %s", error)
        run_evaluate(replace(found, scan=None), report=report)
    if found.scan is None:
        logger.warning("no scan is known of %s; the Fourier error is left out. Give --scan to find it", product)


def _if_there(path: Path | None) -> Path | None:
    if path is None:
        return None
    if not path.is_file():
        logger.warning("%s is not there any more, and is left out", path)
        return None
    logger.info("comparing with %s, as before", path)
    return path
