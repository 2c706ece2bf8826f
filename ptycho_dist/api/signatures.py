"""Signatures of the calls: every setting is a keyword with type and default, from what the flags are made of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, Field, fields
from inspect import Parameter
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from ptycho_dist.commands.parser import default_text, shown_flags
from ptycho_dist.commands.registry import Command, commands
from ptycho_dist.config.fields import field_docs, field_types

P = ParamSpec("P")
R = TypeVar("R")
_PATH = Path | str | None


def with_settings(command_name: str, *sections: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a call the keywords of a command in its signature, and their meaning in its docstring.

    Parameters
    ----------
    command_name
        Name of the command.
    sections
        Those whose settings the call takes; all of the command, and its paths, where none is named.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        command = commands()[command_name]
        known = {*inspect.signature(function).parameters}
        function.__doc__ = f"{inspect.getdoc(function)}\n\n{_listed(command, sections, known)}"
        return _with_keywords(function, _keywords(command, sections))

    return decorate


def with_fields(config: type[Any], *left_out: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a call the fields of a dataclass as keywords in its signature, but for some."""
    types = field_types(config)
    added = [
        Parameter(one.name, Parameter.KEYWORD_ONLY, default=_default(one), annotation=types[one.name])
        for one in fields(config)
        if one.name not in left_out
    ]
    return lambda function: _with_keywords(function, added)


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _with_keywords(function: Callable[P, R], keywords: Iterable[Parameter]) -> Callable[P, R]:
    """Put keywords, but for those that are there, in front of the last ``**`` of a signature."""
    own = inspect.signature(function)
    written = [one for one in own.parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
    rest = [one for one in own.parameters.values() if one.kind is Parameter.VAR_KEYWORD]
    added = [one for one in keywords if one.name not in own.parameters]
    function.__signature__ = own.replace(parameters=[*written, *added, *rest])  # type: ignore[attr-defined]
    return function


def _keywords(command: Command, sections: tuple[str, ...]) -> Iterator[Parameter]:
    if not sections:
        for name in (*command.paths, "config"):
            yield Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=_PATH)
    for section, name, plain in _settings(command, sections):
        if plain.isidentifier():
            config = command.sections[section]
            default = next(one.default for one in command.settings(section) if one.name == name)
            yield Parameter(plain, Parameter.KEYWORD_ONLY, default=default, annotation=field_types(config)[name])


def _settings(command: Command, sections: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Section and name of each setting, and the name that it has as a keyword."""
    shown = shown_flags(command)
    for section in sections or command.sections:
        for field in command.settings(section):
            yield section, field.name, shown[f"{section}.{field.name}"]


def _listed(command: Command, sections: tuple[str, ...], known: set[str]) -> str:
    """Say what each keyword means, as a section of a docstring."""
    docs = {section: field_docs(command.sections[section]) for section in sections or command.sections}
    lines = ["Settings", "--------"]
    if not sections:
        lines += [f"{name}\n    {text}" for name, text in command.paths.items() if name not in known]
        lines.append("config\n    YAML or JSON file of settings.")
    for section, name, plain in _settings(command, sections):
        default = next(one.default for one in command.settings(section) if one.name == name)
        meaning = " ".join(docs[section][name].split())
        lines.append(f"{plain}\n    {meaning} (default: {default_text(default)})")
    return "\n".join(lines)
