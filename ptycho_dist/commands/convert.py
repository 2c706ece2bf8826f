"""Write a scan of any readable format as HDF5 of this project, on one rank or several.

Heavy packages are imported inside the functions, so that help answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ptycho_dist.commands.path_checks import SCAN_SUFFIXES, require_output_file, require_scan
from ptycho_dist.commands.registry import SCAN_HELP, Command, Typed, register_command
from ptycho_dist.commands.startup import make_request, own_section, required_path, write_on_ranks
from ptycho_dist.config.command_settings import ConvertConfig, RanksConfig
from ptycho_dist.config.schema import DataConfig

if TYPE_CHECKING:
    from ptycho_dist.distributed.rank_group import RankGroup

COMMAND = Command(
    name="convert",
    summary="write a scan of any readable format as HDF5 of this project",
    description="Convert a scan to the project's HDF5; with --devices, or under a launcher, on several ranks.",
    example="ptycho-dist convert scan.npz runs/scan.h5 --devices 2",
    order=2,
    operand="scan",
    operand_help=SCAN_HELP,
    paths={"output_file": "HDF5 file to write."},
    second_operand="output_file",
    stages=(),
    sections={"data": DataConfig, "convert": ConvertConfig, "ranks": RanksConfig},
)


@register_command(COMMAND)
def convert(typed: Typed) -> int:
    """Write a scan of any readable format in the project's own."""
    source, target = required_path(typed, "scan"), required_path(typed, "output_file")
    require_scan(source)
    require_output_file(target, SCAN_SUFFIXES)
    order = ConvertConfig(**own_section(typed, "convert", ConvertConfig)).order
    request = make_request(typed)

    def write(ranks: RankGroup) -> Path:
        from ptycho_dist.convert.run import convert as convert_scan
        from ptycho_dist.data.scan import open_scan
        from ptycho_dist.factory.settings import reader_options

        options = reader_options(request.levels({"data": DataConfig}))
        with ranks.on_all_ranks(lambda: open_scan(source, options, unpack=True)) as scan:
            return convert_scan(scan, target, ranks, order)

    return write_on_ranks(typed, write)
