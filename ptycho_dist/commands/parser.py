"""The parser of a command, derived from its config dataclasses, and its help in two lengths.

Nothing is listed twice: a flag is a field with its docstring; what the short help shows is named by the command.
"""

from __future__ import annotations

import difflib
from argparse import SUPPRESS, RawDescriptionHelpFormatter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from jsonargparse import ArgumentParser

from ptycho_dist.commands.registry import Command
from ptycho_dist.config.fields import field_docs, field_types
from ptycho_dist.config.sections import homes
from ptycho_dist.errors import ConfigError

OVERWRITE = "overwrite"
ALL = "all"
"""Topic of the help that shows every flag."""
_FILES, _GENERAL = "files", "general"
_TITLES = {
    _FILES: "files and folders",
    _GENERAL: "general",
    "data": "what the scan holds (or --data.NAME)",
    "model": "network and trainable physics (or --model.NAME)",
    "training": "training (or --training.NAME)",
    "inference": "prediction and stitching (or --inference.NAME)",
    "refine": "refinement by physics (or --refine.NAME)",
    "execution": "execution: ranks, devices, precision (or --execution.NAME)",
    "simulate": "simulated scan (or --simulate.NAME)",
    "set": "set of simulated scans (or --set.NAME)",
    "convert": "how it is stored (or --convert.NAME)",
    "doctor": "examination (or --doctor.NAME)",
    "plan": "what is predicted (or --plan.NAME)",
    "ranks": "ranks that share the work (or --ranks.NAME)",
    "live": "a scan that is measured meanwhile (or --live.NAME)",
    "demo": "size of the demonstration (or --demo.NAME)",
    "watch": "how the job is shown (or --watch.NAME)",
    "page": "report (or --page.NAME)",
    "figure": "figure (or --figure.NAME)",
}
"""Topics of the help, and their headings."""
_METAVARS = {bool: "true|false", str: "NAME", float: "NUMBER", int: "INT"}
_SPELLINGS = "Flags may be written with hyphens or underscores. Typed flags win over the file of --config."


class _Formatter(RawDescriptionHelpFormatter):
    """Keep the line breaks of description and example."""


@dataclass(frozen=True)
class _Flag:
    """A flag, without its dashes, and what argparse is told of it."""

    name: str
    told: Mapping[str, Any]


def build_parser(command: Command) -> ArgumentParser:
    """Derive the parser of a command, which knows all its flags."""
    return _parser(command, _flags_by_topic(command), _SPELLINGS)


def topics(command: Command) -> tuple[str, ...]:
    """Return what ``--help TOPIC`` knows for a command, ``all`` first."""
    return (ALL, *_flags_by_topic(command))


def help_text(command: Command, topic: str = "") -> str:
    """Write the help of a command.

    Parameters
    ----------
    command
        The command.
    topic
        Empty for what most runs need, ``all`` for everything, or one of :func:`topics`.

    Raises
    ------
    ConfigError
        For another topic.
    """
    known = _flags_by_topic(command)
    if topic == ALL:
        return str(build_parser(command).format_help())
    if not topic:
        return str(_parser(command, {"main": _main_flags(command, known)}, _more(command, known)).format_help())
    if topic not in known:
        near = difflib.get_close_matches(topic, topics(command), n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        msg = f"there is no help on {topic!r} of {command.name}; expected {', '.join(topics(command))}.{hint}"
        raise ConfigError(msg)
    return str(_parser(command, {topic: known[topic]}, _more(command, known)).format_help())


def _more(command: Command, known: Mapping[str, list[_Flag]]) -> str:
    count = sum(flag.told.get("help") != SUPPRESS for flags in known.values() for flag in flags)
    return (
        f"All {count} flags: ptycho-dist {command.name} --help {ALL}\n"
        f"Some of them: --help TOPIC, of {', '.join(known)}\n"
        "A file of settings: --print_config changed > run.yaml, and --config run.yaml"
    )


def _main_flags(command: Command, known: Mapping[str, list[_Flag]]) -> list[_Flag]:
    by_name = {flag.name: flag for flags in known.values() for flag in flags}
    return [by_name[name] for name in command.main_flags]


def _parser(command: Command, groups: Mapping[str, Iterable[_Flag]], epilog: str) -> ArgumentParser:
    parser = ArgumentParser(
        prog=f"ptycho-dist {command.name}",
        usage=f"ptycho-dist {command.name} {_usage(command)} [flags]",
        description=f"{command.description}\n\nexample:\n  {command.example}",
        epilog=epilog,
        formatter_class=_Formatter,
        exit_on_error=False,
        default_env=False,
        add_help=False,
    )
    parser.add_argument(command.operand, type=Path, nargs="?", help=command.operand_help)
    if command.more_operands:
        parser.add_argument("more", type=Path, nargs="*", help=command.more_operands)
    for topic, flags in groups.items():
        group = parser.add_argument_group(_TITLES.get(topic, "flags that most runs need"))
        for flag in flags:
            group.add_argument(f"--{flag.name}", **flag.told)
    return parser


def _flags_by_topic(command: Command) -> dict[str, list[_Flag]]:
    sections = {section: _setting_flags(command, section) for section in command.sections}
    return {_FILES: _path_flags(command), _GENERAL: _general_flags(command), **sections}


def _path_flags(command: Command) -> list[_Flag]:
    config_help = "YAML or JSON file of settings, in sections or by plain name."
    paths = [_Flag(name, {"type": Path, "metavar": "PATH", "help": text}) for name, text in command.paths.items()]
    return [*paths, _Flag("config", {"type": Path, "metavar": "FILE", "help": config_help})]


def _general_flags(command: Command) -> list[_Flag]:
    switch = {"type": bool, "default": False, "metavar": "true|false", "help": command.replaces}
    help_on = "Show the flags that most runs need; all: every flag; a topic: those of it."
    printed = "Print the settings as a commented file for --config; changed: only those that are not the defaults."
    return [
        _Flag("help", {"nargs": "?", "metavar": "all|TOPIC", "help": help_on}),
        _Flag("print_config", {"nargs": "?", "metavar": "changed", "help": printed}),
        *([_Flag(OVERWRITE, switch)] if command.replaces else []),
        _Flag("quiet", {"action": "store_true", "help": "Only warnings, no progress bar."}),
        _Flag("debug", {"action": "store_true", "help": "Show more of the log, and tracebacks of errors."}),
    ]


def _setting_flags(command: Command, section: str) -> list[_Flag]:
    config, shown = command.sections[section], shown_flags(command)
    docs, types = field_docs(config), field_types(config)
    flags = []
    for field in command.accepted(section):
        text = f"{docs[field.name]} (default: {default_text(field.default)})".replace("%", "%%")
        told = {
            "type": types[field.name],
            "default": field.default,
            "metavar": metavar(types[field.name]),
            "help": text if command.uses(section, field.name) else SUPPRESS,
        }
        flags.append(_Flag(shown[f"{section}.{field.name}"], told))
    return flags


def metavar(kind: Any) -> str:
    """Say in a word what a flag of a type takes."""
    if get_origin(kind) is tuple:
        return f"[{','.join('...' if one is Ellipsis else metavar(one) for one in get_args(kind))}]"
    words = (metavar(one) if get_args(one) else _METAVARS.get(one, "") for one in get_args(kind) or (kind,))
    return "|".join(word for word in words if word)


def default_text(value: Any) -> str:
    """Say in a word what holds where nothing is given."""
    if value is None:
        return "not set"
    if isinstance(value, tuple):
        return f"[{','.join(str(item) for item in value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def title_of(section: str) -> str:
    """Heading of a section."""
    return _TITLES[section].partition(" (or")[0]


def operands(command: Command) -> tuple[str, ...]:
    """Names of the positional paths."""
    return (command.operand, command.second_operand) if command.second_operand else (command.operand,)


def _usage(command: Command) -> str:
    words = " ".join(operands(command)).upper() + (" [MORE ...]" if command.more_operands else "")
    return f"[{words}]" if command.operand_is_optional else words


def shown_flags(command: Command) -> dict[str, str]:
    """Map dotted names of settings to the flag that the parser knows: plain where that is unique."""
    return {
        f"{section}.{field.name}": field.name
        if homes(field.name, command.sections) == (section,)
        else f"{section}.{field.name}"
        for section in command.sections
        for field in command.accepted(section)
    }
