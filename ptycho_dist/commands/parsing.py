"""Read the arguments of one command, and print its settings as a config file.

Flags come from the config dataclasses; nothing is listed twice. Each may be dotted, plain, with hyphens or underscores,
or PtychoPINN's; every flag is brought to its dotted name before jsonargparse sees the command line.
"""

from __future__ import annotations

import difflib
import re
from argparse import SUPPRESS, ArgumentError, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin

import yaml
from jsonargparse import ArgumentParser

from ptycho_dist.commands.registry import Command, Typed, commands
from ptycho_dist.config import precedence
from ptycho_dist.config.execution import USED_BY
from ptycho_dist.config.fields import field_docs, field_types
from ptycho_dist.config.ptychopinn import PTYCHOPINN, Entry
from ptycho_dist.config.sections import ALIASES, MOVED, field_names, homes
from ptycho_dist.errors import ConfigError

SWITCHES = ("quiet", "debug", "print_config", "help")
OVERWRITE = "overwrite"
_BOOL_WORDS = ("true", "false", "yes", "no", "0", "1", "warn", "auto", "null")
_FALSE_TRUE = {"no": "false", "0": "false", "yes": "true", "1": "true"}
_GROUPS = {
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
    "watch": "how the job is shown (or --watch.NAME)",
    "ranks": "ranks that share the work (or --ranks.NAME)",
    "live": "a scan that is measured meanwhile (or --live.NAME)",
    "report": "report (or --report.NAME)",
    "figure": "figure (or --figure.NAME)",
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
    if command.more_operands:
        parser.add_argument("more", type=Path, nargs="*", help=command.more_operands)
    paths = parser.add_argument_group("files and folders")
    for name, text in command.paths.items():
        paths.add_argument(f"--{name}", type=Path, metavar="PATH", help=text)
    config_help = "YAML or JSON file of settings, in sections or by plain name."
    paths.add_argument("--config", type=Path, metavar="FILE", help=config_help)
    general = parser.add_argument_group("general")
    general.add_argument("--print_config", action="store_true", help="Print the settings as a file for --config.")
    general.add_argument("--quiet", action="store_true", help="Only warnings, no progress bar.")
    general.add_argument("--debug", action="store_true", help="Show more of the log, and tracebacks of errors.")
    if command.replaces:
        general.add_argument(f"--{OVERWRITE}", type=bool, default=False, metavar="true|false", help=command.replaces)
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
    more = operands[1:] if command.more_operands else []
    if len(set(operands)) > 1 and not more:
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
        more_paths=tuple(map(Path, more)),
        overrides={dotted: values[flag] for dotted, flag in shown.items() if flag in values},
        config_file=values.get("config"),
        quiet="quiet" in switches,
        debug="debug" in switches,
        print_config="print_config" in switches,
        overwrite=bool(values.get(OVERWRITE)),
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
    words = " ".join(_operands(command)).upper() + (" [MORE ...]" if command.more_operands else "")
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


def spellings(command: Command) -> dict[str, str]:
    """Map every accepted flag (with underscores, no dashes in front) to its dotted name."""
    names = {switch: switch for switch in (*SWITCHES, "config", *command.paths)}
    names |= {OVERWRITE: OVERWRITE} if command.replaces else {}
    names |= {"h": "help", command.operand: command.operand} | dict.fromkeys(command.operand_flags, command.operand)
    names |= {theirs: command.operand for theirs, ours in ALIASES.items() if ours in command.operand_flags}
    for section in command.sections:
        for field in command.accepted(section):
            dotted = f"{section}.{field.name}"
            plain = [field.name, *(alias for alias, name in ALIASES.items() if name == field.name)]
            names |= {f"{section}.{name}": dotted for name in plain}
            if homes(field.name, command.sections) == (section,):
                names |= {name: dotted for name in plain if name not in names}
    known = set(names.values())
    return names | {old: new for old, new in MOVED.items() if new in known}


def shown_flags(command: Command) -> dict[str, str]:
    """Map dotted names of settings to the flag that the parser knows: plain where that is unique."""
    return {
        f"{section}.{field.name}": field.name
        if homes(field.name, command.sections) == (section,)
        else f"{section}.{field.name}"
        for section in command.sections
        for field in command.accepted(section)
    }


def bool_settings(command: Command) -> set[str]:
    """Dotted names of settings that may be switched on without a value."""
    return {
        f"{section}.{name}"
        for section, config in command.sections.items()
        for name, kind in field_types(config).items()
        if name in field_names(config) and (kind is bool or bool in get_args(kind))
    }


def canonical_argv(argv: Sequence[str], command: Command) -> tuple[dict[str, str], list[str]]:
    """Bring every flag to its dotted name.

    Returns
    -------
    flags, operands
        Values as typed by dotted name (switches have an empty one), and the
        positional arguments, those given by flag included.

    Raises
    ------
    ConfigError
        For an unknown flag, a missing value, or one setting given two values.
    """
    names, bools = spellings(command), {*bool_settings(command), OVERWRITE}
    operands: list[str] = []
    given: dict[str, tuple[str, str]] = {}
    left = list(argv)
    while left:
        token = left.pop(0)
        if not _is_flag(token):
            operands.append(token)
            continue
        spelled, has_value, value = token.partition("=")
        theirs = PTYCHOPINN.get(_plain(spelled))
        if theirs is not None and not theirs.ours and _plain(spelled) not in names:
            _leave_out(theirs, value if has_value else _take_moot(theirs, left), command)
            continue
        name = _dotted(spelled, names, command)
        if name in SWITCHES:
            value = _refuse_value(spelled) if has_value else ""
        elif not has_value:
            value = _take_bool(left) if name in bools else _take_value(spelled, left)
        if name == command.operand:
            operands.append(value)
            continue
        value = _FALSE_TRUE.get(value, value) if name in bools else value
        value = value if theirs is None else theirs.translate(value)
        _require_one_value(name, (spelled, value), given)
        given[name] = (spelled, value)
    return {name: value for name, (_, value) in given.items()}, operands


def _is_flag(token: str) -> bool:
    return token == "-h" or (token.startswith("--") and len(token) > 2)


def _dotted(spelled: str, names: Mapping[str, str], command: Command) -> str:
    name = _plain(spelled)
    if name not in names:
        refuse_unused(spelled, command)
        near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
        hint = f"Did you mean --{near[0]}?" if near else f"See ptycho-dist {command.name} --help."
        msg = f"unknown flag {spelled}; expected a flag of 'ptycho-dist {command.name}'. {hint}"
        raise ConfigError(msg)
    return names[name]


def refuse_unused(spelled: str, command: Command) -> None:
    """Refuse a setting that only other commands use.

    Raises
    ------
    ConfigError
        Naming the commands that use it.
    """
    name = _plain(spelled)
    dotted = [key for key in USED_BY if name in (key, key.partition(".")[2])]
    for section, _, field in (key.partition(".") for key in dotted):
        if section in command.sections and not command.uses(section, field):
            others = commands().values()
            users = ", ".join(one.name for one in others if section in one.sections and one.uses(section, field))
            msg = f"{spelled} is a setting of {users}; 'ptycho-dist {command.name}' does not use it. Remove it."
            raise ConfigError(msg)


def _plain(spelled: str) -> str:
    return spelled.lstrip("-").replace("-", "_")


def _take_moot(theirs: Entry, left: list[str]) -> str:
    """Value of a flag of PtychoPINN that changes nothing here: the next word, where the flag takes one."""
    return _take_value(f"--{theirs.name}", left) if theirs.only else _take_bool(left)


def _leave_out(theirs: Entry, value: str, command: Command) -> None:
    """Pass over a flag of PtychoPINN that asks for what is always so; another one is refused."""
    level = f"ptycho-dist {command.name}"
    if not theirs.moot:
        theirs.refuse(level)
    theirs.require_moot(value, level)


def _take_bool(left: list[str]) -> str:
    """Value of a switchable setting: the next word if it is one, else true."""
    return left.pop(0).lower() if left and left[0].lower() in _BOOL_WORDS else "true"


def _take_value(spelled: str, left: list[str]) -> str:
    if not left or _is_flag(left[0]):
        msg = f"{spelled} has no value; expected one after it. Write {spelled} VALUE."
        raise ConfigError(msg)
    return left.pop(0)


def _refuse_value(spelled: str) -> NoReturn:
    msg = f"{spelled} got a value; expected none. Write {spelled} alone."
    raise ConfigError(msg)


def _require_one_value(name: str, new: tuple[str, str], given: Mapping[str, tuple[str, str]]) -> None:
    old = given.get(name, new)
    if old[1] != new[1]:
        msg = f"{old[0]} {old[1]} and {new[0]} {new[1]} name one setting but differ; expected one value. Remove one."
        raise ConfigError(msg)
