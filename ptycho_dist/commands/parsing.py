"""Parse the arguments of one command with jsonargparse, and print its settings as a config file."""

from __future__ import annotations

import re
from argparse import SUPPRESS, ArgumentError, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from jsonargparse import ArgumentParser

from ptycho_dist.commands.flags import SWITCHES, canonical_argv, shown_flags
from ptycho_dist.commands.registry import Command, Typed
from ptycho_dist.config import precedence
from ptycho_dist.config.fields import field_docs, field_types
from ptycho_dist.config.sections import field_names
from ptycho_dist.errors import ConfigError

_GROUPS = {
    "data": "what the scan holds (or --data.NAME)",
    "model": "network and trainable physics (or --model.NAME)",
    "training": "training (or --training.NAME)",
    "inference": "prediction and stitching (or --inference.NAME)",
    "refine": "refinement by physics (or --refine.NAME)",
    "execution": "ranks, devices, precision, optimiser (or --execution.NAME)",
    "simulate": "simulated scan (or --simulate.NAME)",
    "set": "set of simulated scans (or --set.NAME)",
    "doctor": "examination (or --doctor.NAME)",
    "plan": "what is predicted (or --plan.NAME)",
    "ranks": "ranks that share the work (or --ranks.NAME)",
}
_METAVARS = {bool: "true|false", str: "NAME", float: "NUMBER", int: "INT"}


class _Formatter(RawDescriptionHelpFormatter):
    """Keep the line breaks of description and example."""


def build_parser(command: Command) -> ArgumentParser:
    """Derive the parser of a command from its config dataclasses."""
    parser = ArgumentParser(
        prog=f"ptycho-dist {command.name}",
        usage=f"ptycho-dist {command.name} {_usage(command)} [flags]",
        description=f"{command.description}\n\nexample:\n  {command.example}",
        epilog="Flags may be written with hyphens or underscores. Typed flags win over the file of --config.",
        formatter_class=_Formatter,
        exit_on_error=False,
        default_env=False,
    )
    parser.add_argument(command.operand, type=Path, nargs="?", help=command.operand_help)
    paths = parser.add_argument_group("files and folders")
    for name, text in command.paths.items():
        paths.add_argument(f"--{name}", type=Path, metavar="PATH", help=text)
    config_help = "YAML or JSON file of settings, in sections or by plain name."
    paths.add_argument("--config", type=Path, metavar="FILE", help=config_help)
    general = parser.add_argument_group("general")
    general.add_argument("--print_config", action="store_true", help="Print the settings as a file for --config.")
    general.add_argument("--quiet", action="store_true", help="Only warnings, no progress bar.")
    general.add_argument("--debug", action="store_true", help="Show more of the log, and tracebacks of errors.")
    _add_settings(parser, command)
    return parser


def _add_settings(parser: ArgumentParser, command: Command) -> None:
    shown = shown_flags(command)
    for section, config in command.sections.items():
        group = parser.add_argument_group(_GROUPS[section])
        docs, types = field_docs(config), field_types(config)
        for field in command.accepted(section):
            text = f"{docs[field.name]} (default: {_default_text(field.default)})".replace("%", "%%")
            group.add_argument(
                f"--{shown[f'{section}.{field.name}']}",
                type=types[field.name],
                default=field.default,
                metavar=_metavar(types[field.name]),
                help=text if command.uses(section, field.name) else SUPPRESS,
            )


def _metavar(kind: Any) -> str:
    members = get_args(kind) or (kind,)
    words = [_METAVARS[member] for member in members if member in _METAVARS]
    return f"[{','.join(words)}]" if get_origin(kind) is tuple else "|".join(words)


def _default_text(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, tuple):
        return f"[{','.join(str(item) for item in value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse(command: Command, argv: Sequence[str]) -> Typed:
    """Read the arguments that follow the command's name.

    Raises
    ------
    ConfigError
        If they cannot be understood.
    """
    flags, operands = canonical_argv(argv, command)
    if command.second_operand and len(operands) == 2 and command.second_operand not in flags:
        flags[command.second_operand] = operands.pop()
    if len(set(operands)) > 1:
        msg = f"{command.name} got {' and '.join(operands)}; expected {_listed(command)}. Remove one."
        raise ConfigError(msg)
    switches = {name for name in flags if name in SWITCHES}
    shown = shown_flags(command)
    valued = [f"--{shown.get(name, name)}={value}" for name, value in flags.items() if name not in switches]
    try:
        parsed = build_parser(command).parse_args([*valued, *operands[:1]], defaults=False)
    except ArgumentError as error:
        msg = f"{_readable(str(error), command)} See ptycho-dist {command.name} --help."
        raise ConfigError(msg) from error
    values = vars(parsed.as_flat())
    return Typed(
        argv=(command.name, *argv),
        paths={name: values[name] for name in (command.operand, *command.paths) if values.get(name) is not None},
        overrides={dotted: values[flag] for dotted, flag in shown.items() if flag in values},
        config_file=values.get("config"),
        quiet="quiet" in switches,
        debug="debug" in switches,
        print_config="print_config" in switches,
    )


def config_text(command: Command, typed: Typed) -> str:
    """Write the settings in force before any scan is read as YAML for ``--config``.

    What the scan or the bundle decides is left out unless it was given.
    """
    sections = command.sections
    file = precedence.canonicalise(typed.file.settings(), sections, precedence.CONFIG_FILE, drop_foreign=True)
    typed_level = precedence.Level(precedence.OVERRIDE, typed.overrides)
    given = precedence.resolve([typed_level, file, precedence.defaults(sections)])
    decided_later = {"data", "model"} if "training" not in sections else set()
    nested: dict[str, dict[str, Any]] = {}
    for section, config in sections.items():
        for name in field_names(config):
            key = f"{section}.{name}"
            is_default = given.provenance.get(key, precedence.DEFAULT) == precedence.DEFAULT
            if not command.uses(section, name) and key not in typed.overrides:
                continue
            if key not in given.values or (is_default and (section in decided_later or key == "data.N")):
                continue
            nested.setdefault(section, {})[name] = _yaml_value(given.values[key])
    return str(yaml.safe_dump(nested, sort_keys=False))


def _yaml_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def _operands(command: Command) -> tuple[str, ...]:
    return (command.operand, command.second_operand) if command.second_operand else (command.operand,)


def _usage(command: Command) -> str:
    words = " ".join(_operands(command)).upper()
    return f"[{words}]" if command.operand_is_optional else words


def _listed(command: Command) -> str:
    return " and ".join(f"one {name}" for name in _operands(command))


def _readable(message: str, command: Command) -> str:
    """Say in one sentence what jsonargparse says in many lines."""
    text = " ".join(message.split())
    dotted = {flag: name for name, flag in shown_flags(command).items()}
    found = re.search(r'Parser key "([^"]+)"', text)
    if found is None or found[1] not in dotted:
        return text if text.endswith(".") else f"{text}."
    section, _, name = dotted[found[1]].partition(".")
    expected = _metavar(field_types(command.sections[section])[name])
    value = re.search(r"(?:Got value|value was|Given value): (\S+)", text)
    return f"--{found[1]} got {value[1].rstrip('.') if value else 'this value'}; expected {expected}."
