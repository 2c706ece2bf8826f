"""Commands that write scans, on one rank or several.

Heavy packages are imported inside the functions, so that help answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho_dist.commands.command import Typed
from ptycho_dist.commands.path_checks import require_output_file, require_output_folder, require_scan
from ptycho_dist.commands.running import (
    configure_logging,
    file_values,
    required_path,
    sensible_ranks,
    start_ranks,
)
from ptycho_dist.config import precedence
from ptycho_dist.config.coerce import field_types
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.ranks import RanksConfig
from ptycho_dist.launching.environment import detect, launcher_name
from ptycho_dist.launching.parent import end_with_parent

if TYPE_CHECKING:
    from ptycho_dist.distributed.rank_group import RankGroup

SCAN_SUFFIXES = (".h5", ".hdf5")
"""How the name of a scan that is written may end."""


def simulate(typed: Typed) -> int:
    """Simulate a scan with known truth, or a set of such scans."""
    from ptycho_dist.config.simulate import SimulateConfig
    from ptycho_dist.config.simulate_set import SetConfig

    recipe = SetConfig(**read_own_section(typed, "set", SetConfig))
    target = required_path(typed, "output_file")
    if recipe.n_scans is None:
        require_output_file(target, SCAN_SUFFIXES)
    else:
        require_output_folder(target, "folder")
    values = read_own_section(typed, "simulate", SimulateConfig)
    paths = {name: path for name, path in typed.paths.items() if name in field_types(SimulateConfig)}
    config = SimulateConfig(**(values | paths))

    def write(ranks: RankGroup) -> Path:
        from ptycho_dist.simulate.run import simulate as simulate_scan
        from ptycho_dist.simulate.sets import simulate_set

        return simulate_scan(config, ranks) if recipe.n_scans is None else simulate_set(config, recipe, ranks)

    return _on_ranks(typed, write)


def convert(typed: Typed) -> int:
    """Write a scan of any readable format in the project's own."""
    source, target = required_path(typed, "scan"), required_path(typed, "output_file")
    require_scan(source)
    require_output_file(target, SCAN_SUFFIXES)

    given = file_values(typed) | dict(typed.overrides)

    def write(ranks: RankGroup) -> Path:
        from ptycho_dist.convert.run import convert as convert_scan
        from ptycho_dist.data.scan import ScanOptions, open_scan

        values = {name: given[f"data.{name}"] for name in ScanOptions.__dataclass_fields__ if f"data.{name}" in given}
        with ranks.on_all_ranks(lambda: open_scan(source, ScanOptions(**values))) as scan:
            return convert_scan(scan, target, ranks)

    return _on_ranks(typed, write)


def read_own_section(typed: Typed, section: str, config: type[Any]) -> dict[str, Any]:
    """Values of a section that only this command knows: those typed, else those in the file of ``--config``."""
    from ptycho_dist.factory.config_file import read_section

    settings = {} if typed.config_file is None else read_section(typed.config_file, section)
    dotted = {f"{section}.{name}": value for name, value in settings.items()}
    level = precedence.canonicalise(dotted, {section: config}, precedence.CONFIG_FILE)
    in_file = {key.partition(".")[2]: value for key, value in level.values.items()}
    return in_file | _typed_values(typed, section)


def _typed_values(typed: Typed, section: str) -> dict[str, Any]:
    prefix = f"{section}."
    return {key.removeprefix(prefix): value for key, value in typed.overrides.items() if key.startswith(prefix)}


def _on_ranks(typed: Typed, write: Callable[[RankGroup], Path]) -> int:
    """Start ranks if need be, let them write together, and say on rank 0 what was written."""
    config = RanksConfig(**read_own_section(typed, "ranks", RanksConfig))
    configure_logging(typed)
    if launcher_name(os.environ) == "plain" and config.devices not in ("auto", 1):
        return start_ranks(typed, sensible_ranks(int(config.devices)))
    end_with_parent(os.environ)
    from ptycho_dist.distributed.rank_group import open_rank_group
    from ptycho_dist.factory.devices import require_launch

    context = detect(os.environ)
    if config.devices != "auto":
        require_launch(PyTorchExecutionConfig(devices=config.devices), context)
    with open_rank_group(context, config.timeout_s) as ranks:
        written = write(ranks)
    if context.rank == 0 and typed.listen is None:
        sys.stdout.write(f"{written}\n")
    return 0
