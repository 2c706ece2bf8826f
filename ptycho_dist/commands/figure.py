"""Draw a figure for a paper."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ptycho_dist.commands.path_checks import require_new_files, require_output_file, require_reference
from ptycho_dist.commands.registry import Command, Typed, register_command
from ptycho_dist.commands.startup import make_request, own_section, required_path, write_alone
from ptycho_dist.config.precedence import RunRequest
from ptycho_dist.config.report import FigureConfig
from ptycho_dist.config.schema import DataConfig
from ptycho_dist.run_folder import product_of

_SUFFIXES = (".png", ".pdf")
COMMAND = Command(
    name="figure",
    summary="a figure for a paper, as PNG or PDF",
    description="Draw one figure of a result, as PNG or as PDF whose text stays text, in colours that colour-blind\n"
    "people tell apart.",
    example="ptycho-dist figure runs/one --kind object --output object.pdf\n"
    "  ptycho-dist figure runs/one --kind comparison --other runs/two --output difference.pdf",
    order=11,
    operand="run",
    operand_help="Folder of a run, or a product file such as reconstruction.h5 or network.h5.",
    paths={
        "output": "PNG or PDF file to write; KIND.png beside the product where not given.",
        "other": "Folder of another run, or a product, to compare with.",
        "scan": "Scan that the product was made from; the one it was made from where not given.",
        "reference": "Product or NPZ with a reference object; the one of the last evaluation where not given.",
    },
    stages=(),
    sections={"figure": FigureConfig, "data": DataConfig},
    main_flags=("kind", "output", "other", "reference", "scan", "overwrite"),
    replaces="Replace the file that is written.",
)


@register_command(COMMAND)
def figure(typed: Typed) -> int:
    """Draw a figure."""
    kind = FigureConfig(**own_section(typed, "figure", FigureConfig)).kind
    place = required_path(typed, "run")
    other = typed.paths.get("other")
    output = typed.paths.get("output", (place if place.is_dir() else place.parent) / f"{kind}.png")
    require_output_file(output, _SUFFIXES)
    require_new_files([output], overwrite=typed.overwrite)
    request = make_request(typed)
    if other is not None:
        request = replace(request, reference=product_of(other))
    require_reference(request.reference)
    return write_alone(typed, lambda: _write(place, kind, output, request))


def _write(place: Path, kind: str, output: Path, request: RunRequest) -> Path:
    from ptycho_dist.results import run_figure

    return run_figure(place, kind, output, request)
