"""What a command is, and what was typed for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptycho_dist.config.sections import Sections


@dataclass(frozen=True, kw_only=True)
class Typed:
    """What the user typed.

    Parameters
    ----------
    argv
        The command line as typed, command name included.
    paths
        Paths by name (the operand included).
    overrides
        Settings by dotted name.
    config_file
        Value of ``--config``.
    quiet, debug, print_config
        The switches.
    listen
        Takes what rank 0 says where Python code has called the command; None on a command line.
    """

    argv: tuple[str, ...]
    paths: Mapping[str, Path]
    overrides: Mapping[str, Any]
    config_file: Path | None
    quiet: bool
    debug: bool
    print_config: bool
    listen: Callable[[str], None] | None = None


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of the command line.

    Parameters
    ----------
    name, summary, description, example
        What the help shows.
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
    required
        Paths that must be given, by flag or config file.
    sections
        Config dataclasses whose fields become flags.
    run
        What the command does; returns the exit code.
    """

    name: str
    summary: str
    description: str
    example: str
    operand: str
    operand_help: str
    operand_is_optional: bool = False
    operand_flags: tuple[str, ...] = ()
    paths: Mapping[str, str] = field(default_factory=dict)
    second_operand: str = ""
    required: tuple[str, ...] = ()
    sections: Sections = field(default_factory=dict)
    run: Callable[[Typed], int]
