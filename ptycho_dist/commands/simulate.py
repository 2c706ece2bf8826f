"""Make a scan with a known object, or a set of scans, on one rank or several.

Heavy packages are imported inside the functions, so that help answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ptycho_dist.commands.path_checks import (
    SCAN_SUFFIXES,
    require_new_files,
    require_output_file,
    require_output_folder,
)
from ptycho_dist.commands.registry import Command, Typed, register_command
from ptycho_dist.commands.startup import own_section, required_path, write_on_ranks
from ptycho_dist.config.command_settings import RanksConfig
from ptycho_dist.config.fields import field_types
from ptycho_dist.config.simulate import SetConfig, SimulateConfig

if TYPE_CHECKING:
    from ptycho_dist.distributed.rank_group import RankGroup

COMMAND = Command(
    name="simulate",
    summary="make a scan with a known object, or a set of scans",
    description="Simulate a far-field scan: an object from two pictures, a zone-plate probe, Poisson noise;\n"
    "with --n_scans a folder of such scans that differ, to train one network on.",
    example="ptycho-dist simulate runs/scan.h5 --n_patterns 1000 --photons 3e5\n"
    "  ptycho-dist simulate runs/set --n_scans 24 --n_patterns 200 --devices 2",
    order=1,
    operand="output_file",
    operand_help="HDF5 file to write; with --n_scans, folder to write into.",
    paths={"probe_file": "Scan whose supplied probe takes the place of the zone plate's."},
    sections={"simulate": SimulateConfig, "set": SetConfig, "ranks": RanksConfig},
    main_flags=(
        "n_patterns",
        "N",
        "photons",
        "step_px",
        "n_modes",
        "probe_file",
        "n_scans",
        "devices",
        "seed",
        "config",
        "overwrite",
    ),
    replaces="Replace the scan, or the set of scans, that is there already.",
)


@register_command(COMMAND)
def simulate(typed: Typed) -> int:
    """Simulate a scan with known truth, or a set of such scans."""
    recipe = SetConfig(**own_section(typed, "set", SetConfig))
    target = required_path(typed, "output_file")
    if recipe.n_scans is None:
        require_output_file(target, SCAN_SUFFIXES)
        require_new_files([target], overwrite=typed.overwrite)
    else:
        from ptycho_dist.data.set_index import INDEX_NAME

        require_output_folder(target, "folder")
        require_new_files([target / INDEX_NAME], overwrite=typed.overwrite)
    values = own_section(typed, "simulate", SimulateConfig)
    paths = {name: path for name, path in typed.paths.items() if name in field_types(SimulateConfig)}
    config = SimulateConfig(**(values | paths))

    def write(ranks: RankGroup) -> Path:
        from ptycho_dist.simulate.run import simulate as simulate_scan
        from ptycho_dist.simulate.sets import simulate_set

        return simulate_scan(config, ranks) if recipe.n_scans is None else simulate_set(config, recipe, ranks)

    return write_on_ranks(typed, write)
