"""Train a network on a scan, or on a set of scans."""

from __future__ import annotations

from ptycho_dist.commands.path_checks import require_source
from ptycho_dist.commands.registry import (
    LABELS,
    OUTPUT,
    REPLACES_RESULTS,
    SCAN_HELP,
    START,
    Command,
    Typed,
    register_command,
)
from ptycho_dist.commands.startup import run_job
from ptycho_dist.config.execution import TRAIN
from ptycho_dist.config.precedence import RunRequest
from ptycho_dist.config.sections import TRAINING_SECTIONS

COMMAND = Command(
    name="train",
    summary="train a network on a scan, or on a set of scans",
    description="Train a network (and the probe) on one scan, or one network on a folder of scans; writes a model\n"
    "bundle to OUTPUT_DIR/bundle. With --init_from the network of another bundle is the start.",
    example="ptycho-dist train scan.npz --output_dir runs/one --max_epochs 60 --devices 2",
    order=4,
    operand="scan",
    operand_help=SCAN_HELP,
    operand_flags=("train_data_file",),
    paths={**OUTPUT, **START, **LABELS},
    sections=TRAINING_SECTIONS,
    main_flags=(
        "output_dir",
        "devices",
        "max_epochs",
        "max_time",
        "init_from",
        "batch_size",
        "learning_rate",
        "n_modes",
        "probe",
        "config",
        "overwrite",
    ),
    replaces=REPLACES_RESULTS,
    stages=(TRAIN,),
)


@register_command(COMMAND)
def train(typed: Typed) -> int:
    """Train on all ranks."""

    def work(request: RunRequest) -> None:
        from ptycho_dist.pipeline import run_train

        run_train(request)

    return run_job(typed, work, ("scan", "output_dir"), require_source)
