"""Spellings of flags: dotted, plain, hyphen or underscore, and PtychoPINN's.

Flags come from the config dataclasses; nothing is listed twice. Before the
parser sees a command line, every flag is brought to its dotted name.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import NoReturn, get_args

from ptycho_dist.commands.registry import Command
from ptycho_dist.config.execution import USED_BY
from ptycho_dist.config.fields import field_types
from ptycho_dist.config.ptychopinn import PTYCHOPINN, Entry
from ptycho_dist.config.sections import ALIASES, field_names, homes
from ptycho_dist.errors import ConfigError

SWITCHES = ("quiet", "debug", "print_config", "help")
_BOOL_WORDS = ("true", "false", "yes", "no", "0", "1", "warn", "null")
_FALSE_TRUE = {"no": "false", "0": "false", "yes": "true", "1": "true"}


def spellings(command: Command) -> dict[str, str]:
    """Map every accepted flag (with underscores, no dashes in front) to its dotted name."""
    names = {switch: switch for switch in (*SWITCHES, "config", *command.paths)}
    names |= {"h": "help", command.operand: command.operand} | dict.fromkeys(command.operand_flags, command.operand)
    names |= {theirs: command.operand for theirs, ours in ALIASES.items() if ours in command.operand_flags}
    for section in command.sections:
        for field in command.accepted(section):
            dotted = f"{section}.{field.name}"
            plain = [field.name, *(alias for alias, name in ALIASES.items() if name == field.name)]
            names |= {f"{section}.{name}": dotted for name in plain}
            if homes(field.name, command.sections) == (section,):
                names |= {name: dotted for name in plain if name not in names}
    return names


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
    names, bools = spellings(command), bool_settings(command)
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
        if name.removeprefix("execution.") in USED_BY:
            _refuse_unused(spelled, name.removeprefix("execution."), command)
        near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
        hint = f"Did you mean --{near[0]}?" if near else f"See ptycho-dist {command.name} --help."
        msg = f"unknown flag {spelled}; expected a flag of 'ptycho-dist {command.name}'. {hint}"
        raise ConfigError(msg)
    return names[name]


def _refuse_unused(spelled: str, name: str, command: Command) -> None:
    if "execution" in command.sections and not command.uses("execution", name):
        users = " and ".join(USED_BY[name])
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
