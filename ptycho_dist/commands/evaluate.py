"""Metrics and pictures of a reconstruction."""

from __future__ import annotations

from dataclasses import replace

from ptycho_dist.commands.path_checks import require_output_folder, require_reference
from ptycho_dist.commands.registry import Command, Typed, register_command
from ptycho_dist.commands.startup import make_request, required_path, run_alone
from ptycho_dist.config.schema import DataConfig

COMMAND = Command(
    name="evaluate",
    summary="metrics and pictures of a reconstruction",
    description="Compute the Fourier error (with the scan) and PSNR, SSIM, FRC (with a reference) of a product.",
    example="ptycho-dist evaluate runs/one/reconstruction.h5 --scan scan.npz --reference truth.npz",
    order=8,
    operand="product",
    operand_help="Product file: reconstruction.h5.",
    paths={
        "scan": "Scan that the product was made from.",
        "reference": "Product or NPZ with a reference object.",
        "output_dir": "Folder for metrics and pictures; that of the product where not given.",
    },
    stages=(),
    sections={"data": DataConfig},
)


@register_command(COMMAND)
def evaluate(typed: Typed) -> int:
    """Compute the metrics of a product."""
    from ptycho_dist.pipeline import run_evaluate

    request = make_request(typed)
    folder = request.output_dir or required_path(typed, "product").parent
    require_output_folder(folder)
    require_reference(request.reference)
    return run_alone(typed, folder, lambda progress: run_evaluate(replace(request, progress=progress)))
