"""Refine a reconstruction by physics."""

from __future__ import annotations

from ptycho_dist.commands.registry import (
    OUTPUT,
    REFERENCE,
    REPLACES_RESULTS,
    SCAN_HELP,
    Command,
    Typed,
    register_command,
)
from ptycho_dist.commands.startup import run_job
from ptycho_dist.config.execution import REFINE
from ptycho_dist.config.precedence import RunRequest
from ptycho_dist.config.sections import REFINE_SECTIONS

COMMAND = Command(
    name="refine",
    summary="refine a reconstruction by physics",
    description="Fit object and probe to the patterns themselves, from any start, and if asked for positions, flux\n"
    "and background. It lowers the Fourier error of a network's object, and costs --iterations passes over them.",
    example="ptycho-dist refine scan.npz --start runs/one --output_dir runs/two --iterations 40",
    order=7,
    operand="scan",
    operand_help=SCAN_HELP,
    operand_flags=("test_data_file",),
    paths={
        **OUTPUT,
        "start": "Folder of a run, product, or NPZ with object and probe, to start from; ones where not given.",
        **REFERENCE,
    },
    sections=REFINE_SECTIONS,
    main_flags=(
        "output_dir",
        "start",
        "iterations",
        "devices",
        "method",
        "position_start",
        "n_modes",
        "probe",
        "reference",
        "config",
        "overwrite",
    ),
    replaces=REPLACES_RESULTS,
    stages=(REFINE,),
)


@register_command(COMMAND)
def refine(typed: Typed) -> int:
    """Refine a reconstruction (or an object of ones), on all ranks."""

    def work(request: RunRequest) -> None:
        from ptycho_dist.pipeline import run_refine

        run_refine(request)

    return run_job(typed, work, ("scan", "output_dir"))
