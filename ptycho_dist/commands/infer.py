"""Predict a scan with a trained bundle, and stitch; also while it is measured."""

from __future__ import annotations

from ptycho_dist.commands.path_checks import require_output_folder
from ptycho_dist.commands.registry import MODEL, OUTPUT, REPLACES_RESULTS, SCAN_HELP, Command, Typed, register_command
from ptycho_dist.commands.startup import own_section, run_job
from ptycho_dist.config.execution import INFER
from ptycho_dist.config.live import LiveConfig
from ptycho_dist.config.precedence import RunRequest
from ptycho_dist.config.sections import INFERENCE_SECTIONS
from ptycho_dist.errors import ConfigError

COMMAND = Command(
    name="infer",
    summary="predict a scan with a trained bundle, and stitch",
    description="Predict a scan with a trained bundle, or the network that ships with the package, on all ranks, then "
    "stitch one object on rank 0. With --follow or --zmq the scan is shown while it is measured.",
    example="ptycho-dist infer scan.npz --output_dir runs/two",
    order=5,
    operand="scan",
    operand_help=SCAN_HELP,
    operand_is_optional=True,
    operand_flags=("test_data_file",),
    paths={**MODEL, **OUTPUT},
    sections={**{name: config for name, config in INFERENCE_SECTIONS.items() if name != "model"}, "live": LiveConfig},
    main_flags=(
        "output_dir",
        "model_path",
        "devices",
        "probe",
        "probe_search",
        "region",
        "follow",
        "inference_batch_size",
        "config",
        "overwrite",
    ),
    replaces=REPLACES_RESULTS,
    stages=(INFER,),
)


@register_command(COMMAND)
def infer(typed: Typed) -> int:
    """Predict on all ranks, and stitch."""
    live = LiveConfig(**own_section(typed, "live", LiveConfig))

    def work(request: RunRequest) -> None:
        from ptycho_dist.pipeline import run_infer, run_live

        if live.is_on:
            run_live(request, live)
        else:
            run_infer(request)

    if not live.is_on:
        return run_job(typed, work, ("scan", "output_dir"))
    if "scan" in typed.paths:
        msg = f"infer got the scan {typed.paths['scan']} and one to follow; expected one of them. Leave one out."
        raise ConfigError(msg)
    if "output_dir" in typed.paths:
        require_output_folder(typed.paths["output_dir"])
    return run_job(typed, work, ("output_dir",))
