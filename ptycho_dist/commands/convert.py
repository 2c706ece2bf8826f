"""Write a scan, or a reconstruction, of any readable format in one of several, a scan on one rank or more.

Heavy packages are imported inside the functions, so that help answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ptycho_dist.commands.path_checks import require_new_files, require_output_file, require_scan
from ptycho_dist.commands.registry import REPLACES_FILE, SCAN_HELP, Command, Typed, register_command
from ptycho_dist.commands.startup import configure_logging, make_request, own_section, required_path, write_on_ranks
from ptycho_dist.config.command_settings import ConvertConfig, RanksConfig
from ptycho_dist.config.execution import CONVERT
from ptycho_dist.config.schema import DataConfig

if TYPE_CHECKING:
    from ptycho_dist.distributed.rank_group import RankGroup

COMMAND = Command(
    name="convert",
    summary="write a scan of any readable format as HDF5 of this project, or as a file of other programs",
    description="Convert a scan to the project's HDF5; with --devices, or under a launcher, on several ranks. "
    "--to names the format of another program; a reconstruction is converted in the same way.",
    example="ptycho-dist convert scan.npz runs/scan.h5 --devices 2",
    order=2,
    operand="scan",
    operand_help=SCAN_HELP,
    paths={"output_file": "File to write."},
    second_operand="output_file",
    stages=(CONVERT,),
    sections={"data": DataConfig, "convert": ConvertConfig, "ranks": RanksConfig},
    main_flags=(
        "to",
        "devices",
        "order",
        "map",
        "pixel_size_m",
        "energy_eV",
        "detector_distance_m",
        "position_unit",
        "overwrite",
    ),
    replaces=REPLACES_FILE,
)


@register_command(COMMAND)
def convert(typed: Typed) -> int:
    """Write a scan or a reconstruction in another format."""
    source, target = required_path(typed, "scan"), required_path(typed, "output_file")
    require_scan(source)
    config = ConvertConfig(**own_section(typed, "convert", ConvertConfig))
    if _is_result(source):
        return _convert_result(typed, source, target, config)
    _require_target(typed, source, target, config)
    request = make_request(typed)

    def write(ranks: RankGroup) -> tuple[Path, ...]:
        from ptycho_dist.convert.run import convert_to
        from ptycho_dist.data.scan import open_scan
        from ptycho_dist.factory.settings import data_of, reader_options
        from ptycho_dist.physics.propagators import propagation_of

        levels = request.levels({"data": DataConfig})
        options = reader_options(levels)
        with ranks.on_all_ranks(lambda: open_scan(source, options, unpack=True)) as scan:
            propagation = propagation_of(data_of(levels), scan.header)
            return convert_to(config.to, scan, target, ranks, config.order, propagation).paths

    return write_on_ranks(typed, write)


def _require_target(typed: Typed, source: Path, target: Path, config: ConvertConfig) -> None:
    """Check the name that is written; the scan itself is refused by what writes, in other words."""
    from ptycho_dist.data.formats.writers.registry import scan_writer

    writer = scan_writer(config.to)
    require_output_file(target, writer.suffixes)
    files = [path for path in writer.files(target) if path.resolve() != source.resolve()]
    require_new_files(files, overwrite=typed.overwrite)


def _is_result(source: Path) -> bool:
    from ptycho_dist.data.formats.results.reading import kind_of_result

    return kind_of_result(source) is not None


def _convert_result(typed: Typed, source: Path, target: Path, config: ConvertConfig) -> int:
    from ptycho_dist.convert.run import convert_result
    from ptycho_dist.data.formats.results.registry import result_writer

    writer = result_writer(config.to)
    require_output_file(target, writer.suffixes)
    require_new_files(writer.files(target), overwrite=typed.overwrite)
    configure_logging(typed)
    written = convert_result(config.to, source, target)
    if typed.listen is None:
        sys.stdout.writelines(f"{path}\n" for path in written.paths)
    return 0
