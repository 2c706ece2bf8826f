"""Train, predict, stitch, refine and evaluate in one go."""

from __future__ import annotations

from ptycho_dist.commands.registry import (
    LABELS,
    OUTPUT,
    REFERENCE,
    REPLACES_RESULTS,
    SCAN_HELP,
    START,
    Command,
    Typed,
    register_command,
)
from ptycho_dist.commands.startup import run_job
from ptycho_dist.config.precedence import RunRequest
from ptycho_dist.config.sections import ALL_SECTIONS

COMMAND = Command(
    name="reconstruct",
    summary="train, predict, stitch, refine and evaluate in one go",
    description="From a scan to an object: train, predict, stitch, refine, evaluate. Results are in OUTPUT_DIR. The\n"
    "refinement makes the network's object fit the patterns; --iterations 0 leaves it out, and saves its time.",
    example="ptycho-dist reconstruct scan.npz --output_dir runs/one --devices 2",
    order=6,
    operand="scan",
    operand_help=SCAN_HELP,
    operand_flags=("train_data_file", "test_data_file"),
    paths={**OUTPUT, **START, **LABELS, **REFERENCE},
    sections=ALL_SECTIONS,
    main_flags=(
        "output_dir",
        "devices",
        "max_epochs",
        "iterations",
        "position_start",
        "n_modes",
        "probe",
        "reference",
        "init_from",
        "config",
        "overwrite",
    ),
    replaces=REPLACES_RESULTS,
)


@register_command(COMMAND)
def reconstruct(typed: Typed) -> int:
    """Train, predict, stitch, refine and evaluate, on all ranks."""

    def work(request: RunRequest) -> None:
        from ptycho_dist.pipeline import run_reconstruct

        run_reconstruct(request)

    return run_job(typed, work, ("scan", "output_dir"))
