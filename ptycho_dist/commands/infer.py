"""Predict a scan with a trained bundle, and stitch."""

from __future__ import annotations

from ptycho_dist.commands.registry import MODEL, OUTPUT, SCAN_HELP, Command, Typed, register_command
from ptycho_dist.commands.startup import run_job
from ptycho_dist.config.execution import INFER
from ptycho_dist.config.precedence import RunRequest
from ptycho_dist.config.sections import INFERENCE_SECTIONS

COMMAND = Command(
    name="infer",
    summary="predict a scan with a trained bundle, and stitch",
    description="Predict a scan with a trained bundle, or the network that ships with the package, on all ranks, then "
    "stitch one object on rank 0.",
    example="ptycho-dist infer scan.npz --output_dir runs/two",
    order=4,
    operand="scan",
    operand_help=SCAN_HELP,
    operand_flags=("test_data_file",),
    paths={**MODEL, **OUTPUT},
    sections={name: config for name, config in INFERENCE_SECTIONS.items() if name != "model"},
    stages=(INFER,),
)


@register_command(COMMAND)
def infer(typed: Typed) -> int:
    """Predict on all ranks, and stitch."""

    def work(request: RunRequest) -> None:
        from ptycho_dist.pipeline import run_infer

        run_infer(request)

    return run_job(typed, work, ("scan", "output_dir"))
