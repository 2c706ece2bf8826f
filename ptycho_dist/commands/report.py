"""Write the report of a run again, or compare several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ptycho_dist.commands.path_checks import require_new_files, require_output_file, require_reference
from ptycho_dist.commands.registry import Command, Typed, register_command
from ptycho_dist.commands.startup import make_request, required_path, write_alone
from ptycho_dist.config.precedence import RunRequest
from ptycho_dist.config.schema import DataConfig

COMMAND = Command(
    name="report",
    summary="a page with all results of a run, or one that compares several",
    description="Write report.html beside the results of a run: object, probe, scan, errors, curves, settings, on one\n"
    "page that needs no network. Of several runs, comparison.html beside the first: difference, ring\n"
    "correlation, numbers and settings that differ.",
    example="ptycho-dist report runs/one\n  ptycho-dist report runs/one runs/two --output comparison.html",
    order=10,
    operand="run",
    operand_help="Folder of a run, or a product file such as reconstruction.h5 or network.h5.",
    more_operands="Further runs, each compared with the first.",
    paths={
        "scan": "Scan that the product was made from; the one it was made from where not given.",
        "reference": "Product or NPZ with a reference object; the one of the last evaluation where not given.",
        "output": "HTML file to write.",
    },
    stages=(),
    sections={"data": DataConfig},
    main_flags=("scan", "reference", "output", "overwrite"),
    replaces="Replace the file of --output.",
)


@register_command(COMMAND)
def report(typed: Typed) -> int:
    """Write a page about one run or several."""
    places = (required_path(typed, "run"), *typed.more_paths)
    output = typed.paths.get("output")
    require_reference(typed.paths.get("reference"))
    if output is not None:
        require_output_file(output, (".html",))
        require_new_files([output], overwrite=typed.overwrite)
    return write_alone(typed, lambda: _write(places, make_request(typed), output))


def _write(places: Sequence[Path], request: RunRequest, output: Path | None) -> Path:
    from ptycho_dist.results import run_report

    return run_report(places, request, output)
