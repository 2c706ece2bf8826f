"""Read the arguments of one command.

Flags come from the config dataclasses; nothing is listed twice. Each may be dotted, plain, with hyphens or underscores,
or PtychoPINN's; every flag is brought to its dotted name before jsonargparse sees the command line.
"""

from __future__ import annotations

import re
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NoReturn, get_args, get_origin

from ptycho_dist.commands.habits import HABITS, meant_by
from ptycho_dist.commands.parser import ALL, OVERWRITE, build_parser, metavar, operands, shown_flags
from ptycho_dist.commands.registry import Command, Typed, commands
from ptycho_dist.config.fields import field_types
from ptycho_dist.config.ptychopinn import PTYCHOPINN, Entry
from ptycho_dist.config.sections import ALIASES, MOVED, field_names, homes
from ptycho_dist.errors import ConfigError

_NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?,?", re.IGNORECASE)
PRINT_CONFIG, HELP = "print_config", "help"
SWITCHES = ("quiet", "debug", PRINT_CONFIG, HELP)
PRINTED = ("changed", "all")
"""What may follow ``--print_config``."""
_BOOL_WORDS = ("true", "false", "yes", "no", "0", "1", "warn", "auto", "null")
_FALSE_TRUE = {"no": "false", "0": "false", "yes": "true", "1": "true"}


def parse(command: Command, argv: Sequence[str]) -> Typed:
    """Read the arguments that follow the command's name.

    Raises
    ------
    ConfigError
        If they cannot be understood.
    """
    flags, given = canonical_argv(argv, command)
    if command.second_operand and len(given) == 2 and command.second_operand not in flags:
        flags[command.second_operand] = given.pop()
    more = given[1:] if command.more_operands else []
    if len(set(given)) > 1 and not more:
        _refuse_operands(command, given)
    switches = {name for name in flags if name in SWITCHES}
    shown = shown_flags(command)
    valued = [f"--{shown.get(name, name)}={value}" for name, value in flags.items() if name not in switches]
    try:
        parsed = build_parser(command).parse_args([*valued, *given[:1]], defaults=False)
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
        print_config=flags.get(PRINT_CONFIG, ""),
        overwrite=bool(values.get(OVERWRITE)),
    )


def _listed(command: Command) -> str:
    return " and ".join(f"one {name}" for name in operands(command))


def _refuse_operands(command: Command, given: Sequence[str]) -> NoReturn:
    msg = f"{command.name} got {' and '.join(given)}; expected {_listed(command)}. Remove one."
    raise ConfigError(msg)


def _readable(message: str, command: Command) -> str:
    """Say in one sentence what jsonargparse says in many lines."""
    text = " ".join(message.split())
    dotted = {flag: name for name, flag in shown_flags(command).items()}
    found = re.search(r'Parser key "([^"]+)"', text)
    if found is None or found[1] not in dotted:
        return text if text.endswith(".") else f"{text}."
    section, _, name = dotted[found[1]].partition(".")
    expected = metavar(field_types(command.sections[section])[name])
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
    positional: list[str] = []
    given: dict[str, tuple[str, str]] = {}
    left = list(argv)
    while left:
        token = left.pop(0)
        if not _is_flag(token):
            positional.append(token)
            continue
        spelled, has_value, value = token.partition("=")
        theirs = PTYCHOPINN.get(_plain(spelled))
        if theirs is not None and not theirs.ours and _plain(spelled) not in names:
            _leave_out(theirs, value if has_value else _take_moot(theirs, left), command)
            continue
        name = _dotted(spelled, names, command)
        if name == PRINT_CONFIG:
            value = _print_form(spelled, value if has_value else None, left)
        elif name in SWITCHES:
            value = _refuse_value(spelled) if has_value else ""
        elif not has_value:
            value = _take_bool(left) if name in bools else _take_value(spelled, left)
            _require_one_word(spelled, value, left, command, name)
        if name == command.operand:
            positional.append(value)
            continue
        value = _FALSE_TRUE.get(value, value) if name in bools else value
        value = value if theirs is None else theirs.translate(value)
        _require_one_value(name, (spelled, value), given)
        given[name] = (spelled, value)
    return {name: value for name, (_, value) in given.items()}, positional


def _is_flag(token: str) -> bool:
    return token == "-h" or (token.startswith("--") and len(token) > 2)


def _dotted(spelled: str, names: Mapping[str, str], command: Command) -> str:
    name = _plain(spelled)
    if name not in names:
        refuse_unused(spelled, command)
        near = meant_by(name, names)
        hint = f"Did you mean --{near}?" if near else f"See ptycho-dist {command.name} --help {ALL}."
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
    users = [one.name for one in commands().values() if one.name != command.name and name in spellings(one)]
    if name in spellings(command) or not users:
        return
    instead = meant_by(name, spellings(command)) if name in HABITS else None
    dashes = "--" if spelled.startswith("-") else ""
    hint = f"Did you mean {dashes}{instead}?" if instead else "Remove it."
    msg = f"{spelled} is a setting of {', '.join(users)}; 'ptycho-dist {command.name}' does not use it. {hint}"
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


def asked_help(argv: Sequence[str]) -> str | None:
    """Find the topic that help is asked on; empty for the short help, None where none is asked for."""
    for number, token in enumerate(argv):
        spelled, _, topic = token.partition("=")
        if spelled in ("-h", "--help"):
            following = argv[number + 1 : number + 2]
            return topic or next((word for word in following if not _is_flag(word)), "")
    return None


def _print_form(spelled: str, value: str | None, left: list[str]) -> str:
    """Which settings are to be printed: what follows, where that is such a word, else all."""
    if value is None:
        return left.pop(0) if left and left[0] in PRINTED else "all"
    if value not in PRINTED:
        msg = f"{spelled}={value}; expected {' or '.join(PRINTED)}, or nothing after {spelled}. Change it."
        raise ConfigError(msg)
    return value


def _take_value(spelled: str, left: list[str]) -> str:
    if not left or _is_flag(left[0]):
        msg = f"{spelled} has no value; expected one after it. Write {spelled} VALUE."
        raise ConfigError(msg)
    return left.pop(0)


def _require_one_word(spelled: str, value: str, left: Sequence[str], command: Command, name: str) -> None:
    """Refuse several numbers after a flag, each in a word of its own."""
    section, _, field = name.partition(".")
    kind = field_types(command.sections[section]).get(field) if section in command.sections else None
    takes_list = any(get_origin(one) is tuple for one in (kind, *get_args(kind)))
    following = list(takewhile(_NUMBER.fullmatch, left))
    if takes_list and following and not value.startswith("["):
        numbers = ",".join(part.strip(",") for part in (value, *following))
        msg = f"{spelled} got {' '.join((value, *following))}; expected one word. Write {spelled} [{numbers}]."
        raise ConfigError(msg)


def _refuse_value(spelled: str) -> NoReturn:
    msg = f"{spelled} got a value; expected none. Write {spelled} alone."
    raise ConfigError(msg)


def _require_one_value(name: str, new: tuple[str, str], given: Mapping[str, tuple[str, str]]) -> None:
    old = given.get(name, new)
    if old[1] != new[1]:
        msg = f"{old[0]} {old[1]} and {new[0]} {new[1]} name one setting but differ; expected one value. Remove one."
        raise ConfigError(msg)
