"""Find how the patterns of a scan lie to its positions.

Heavy packages are imported inside the functions, so that help answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ptycho_dist.commands.path_checks import require_new_files, require_output_file, require_scan
from ptycho_dist.commands.registry import REPLACES_FILE, SCAN_HELP, Command, Typed, register_command
from ptycho_dist.commands.startup import configure_logging, make_request, required_path
from ptycho_dist.config.execution import ORIENT
from ptycho_dist.config.schema import DataConfig
from ptycho_dist.errors import ConfigError

if TYPE_CHECKING:
    from ptycho_dist.config.scan_options import ScanOptions
    from ptycho_dist.orientation import Orientation, Trial

COMMAND = Command(
    name="orient",
    summary="find how the patterns of a scan lie to its positions",
    description="Try the eight ways in which patterns may be transposed and flipped, each by a short refinement of "
    "patterns in the middle of the scan; say which explains them, and the flags that turn them so.",
    example="ptycho-dist orient scan.h5 --figure orientations.png",
    order=13,
    operand="scan",
    operand_help=SCAN_HELP,
    paths={
        "write_map": "Scan map to write (YAML): the one by which the scan is opened, with its patterns turned.",
        "figure": "Picture (PNG) of all eight.",
    },
    stages=(ORIENT,),
    main_flags=(
        "figure",
        "write_map",
        "n_modes",
        "probe",
        "map",
        "positions_file",
        "pixel_size_m",
        "overwrite",
    ),
    replaces=REPLACES_FILE,
    sections={"data": DataConfig},
)


@register_command(COMMAND)
def orient(typed: Typed) -> int:
    """Find how the patterns of a scan lie to its positions."""
    from ptycho_dist.factory.settings import data_of, execution_of, reader_options
    from ptycho_dist.launching.environment import single_rank
    from ptycho_dist.orientation import draw, find_orientation

    path = required_path(typed, "scan")
    require_scan(path)
    configure_logging(typed)
    levels = make_request(typed).levels({"data": DataConfig})
    options = reader_options(levels)
    source = _checked_outputs(typed, path, options)
    settings = (data_of(levels), execution_of([]), single_rank())
    found = find_orientation(path, options, settings, _tell)
    sys.stdout.write(f"{found.verdict()}\n")
    if "figure" in typed.paths:
        draw(found, typed.paths["figure"], path.name)
        sys.stdout.write(f"{typed.paths['figure']}: phases that all orientations give\n")
    if source is not None:
        _write_map(source, typed.paths["write_map"], found)
    return 0


def _tell(trial: Trial) -> None:
    errors = f"{trial.fourier_error:.4f}, {trial.above_noise:.4f} without photon noise"
    sys.stdout.write(f"{errors}  {trial.flags or 'as in the file'}\n")
    sys.stdout.flush()


def _checked_outputs(typed: Typed, path: Path, options: ScanOptions) -> Path | None:
    """Refuse what cannot be written before anything is tried; return the map that is to be written again."""
    from ptycho_dist.data.maps.opening import map_file

    if "figure" in typed.paths:
        require_output_file(typed.paths["figure"], (".png",))
        require_new_files([typed.paths["figure"]], overwrite=typed.overwrite)
    if "write_map" not in typed.paths:
        return None
    target = typed.paths["write_map"]
    require_output_file(target, (".yaml", ".yml"))
    require_new_files([target], overwrite=typed.overwrite)
    source = Path(options.map) if options.map is not None else map_file(path)
    if source is None:
        msg = f"{path} is opened by a reader, and by no map; expected a map to write again. Take the flags instead."
        raise ConfigError(msg)
    return source


def _write_map(source: Path, target: Path, found: Orientation) -> None:
    from ptycho_dist.orientation import write_map

    if not found.is_clear:
        sys.stdout.write(f"{target} was not written\n")
        return
    write_map(source, target, found.best.turn)
    sys.stdout.write(f"{target}: {source.name} with patterns turned so; give --map {target} alone\n")
