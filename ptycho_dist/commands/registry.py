"""Commands by name: what the help shows of each, what it runs, and what was typed for it.

A command is one file in this folder with one decorated function; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ptycho_dist.config.execution import STAGES, USED_BY
from ptycho_dist.config.fields import field_types
from ptycho_dist.config.ptychopinn import PTYCHOPINN
from ptycho_dist.config.sections import Sections
from ptycho_dist.factory.config_file import ConfigFile, read_config_file
from ptycho_dist.progress.snapshot import Snapshot
from ptycho_dist.registry import Registry

OUTPUT = {"output_dir": "Folder for all results; made if it is not there."}
START = {"init_from": "Folder of a run that trained, or its bundle, whose network (and settings) to start from."}
LABELS = {"label_file": "Product or NPZ with the object to learn from, in supervised and mixed training."}
MODEL = {"model_path": "Folder of a run that trained, or its bundle; where not given, the network of the package."}
REFERENCE = {"reference": "Product or NPZ with a reference object, for the metrics."}
REPLACES_RESULTS = "Replace the results of an earlier job in OUTPUT_DIR; else these are set aside (earlier-DATE)."
REPLACES_FILE = "Replace the file that is written, if it is there already."
SCAN_HELP = (
    "Scan file: HDF5 of this project, PtychoPINN or tike NPZ, or of another program or beamline (docs/formats.md)."
)


@dataclass(frozen=True, kw_only=True)
class Typed:
    """What the user typed, or what Python code has asked for.

    Parameters
    ----------
    argv
        The command line, command name included; ranks of our own are started with it.
    paths
        Paths by name (the operand included).
    more_paths
        Further positional paths.
    overrides
        Settings by dotted name.
    config_file
        Value of ``--config``.
    quiet, debug
        The switches.
    print_config
        Which settings are to be printed, ``all`` or ``changed``; empty where none are.
    overwrite
        Whether what is there already may be replaced.
    listen
        Takes what rank 0 says where Python code has called the command; None on a command line.
    on_progress
        Takes how far rank 0 is, about twice a second and from another thread, where Python code wants that.
    """

    argv: tuple[str, ...]
    paths: Mapping[str, Path]
    more_paths: tuple[Path, ...] = ()
    overrides: Mapping[str, Any]
    config_file: Path | None = None
    quiet: bool = False
    debug: bool = False
    print_config: str = ""
    overwrite: bool = False
    listen: Callable[[str], None] | None = None
    on_progress: Callable[[Snapshot], None] | None = None

    @cached_property
    def file(self) -> ConfigFile:
        """Content of the config file, read once; empty without one."""
        return ConfigFile() if self.config_file is None else read_config_file(self.config_file)


Run = Callable[[Typed], int]
"""What a command does; returns the exit code."""


def _no_run(typed: Typed) -> int:
    msg = f"the command {typed.argv[0]!r} has no function; decorate one with @register_command"
    raise TypeError(msg)


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of the command line.

    Parameters
    ----------
    name, summary, description, example
        What the help shows.
    order
        Place in the list of commands.
    operand, operand_help
        Name and meaning of the positional path.
    operand_is_optional
        Whether the command also works without it.
    operand_flags
        Flags that name the same path.
    paths
        Further path flags with their meaning.
    second_operand
        The one of these that may also be typed as second positional path; empty for none.
    more_operands
        Meaning of further positional paths of any number; empty for a command that takes none.
    sections
        Config dataclasses whose fields become flags.
    stages
        Those that the command runs; only settings that they use become flags.
    main_flags
        Those that most runs need, in the order of the short help.
    replaces
        What ``--overwrite`` replaces, for the help; empty for a command that writes over nothing.
    run
        The decorated function.
    """

    name: str
    summary: str
    description: str
    example: str
    order: int
    operand: str
    operand_help: str
    operand_is_optional: bool = False
    operand_flags: tuple[str, ...] = ()
    paths: Mapping[str, str] = field(default_factory=dict)
    second_operand: str = ""
    more_operands: str = ""
    sections: Sections = field(default_factory=dict)
    stages: tuple[str, ...] = STAGES
    main_flags: tuple[str, ...] = ()
    replaces: str = ""
    run: Run = _no_run

    def settings(self, section: str) -> list[Field[Any]]:
        """Fields of a section that the help shows as flags; paths have flags of their own."""
        return [one for one in self.accepted(section) if self.uses(section, one.name)]

    def accepted(self, section: str) -> list[Field[Any]]:
        """Fields of a section that are flags; among them names of PtychoPINN that change nothing in this command."""
        config = self.sections[section]
        types = field_types(config)
        own = [one for one in fields(config) if types[one.name] not in (Path, Path | None)]
        return [one for one in own if self.uses(section, one.name) or one.name in PTYCHOPINN]

    def uses(self, section: str, name: str) -> bool:
        """Tell whether a setting changes anything in this command."""
        stages = USED_BY.get(f"{section}.{name}")
        return stages is None or not {*stages}.isdisjoint(self.stages)


_COMMANDS: Registry[Command] = Registry("command", "ptycho_dist.commands")


def register_command(command: Command) -> Callable[[Run], Run]:
    """Register a function as what a command runs.

    Raises
    ------
    ConfigError
        If the name is taken.
    """
    return _COMMANDS.register_as(command.name, lambda run: replace(command, run=run))


def commands() -> dict[str, Command]:
    """Return all commands by name, in the order of a first use."""
    return dict(sorted(_COMMANDS.entries().items(), key=lambda item: item[1].order))
