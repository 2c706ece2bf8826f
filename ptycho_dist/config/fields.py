"""Fields of config dataclasses: their docstrings, their types, and values brought to these types."""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from ptycho_dist.errors import ConfigError


def field_types(config: type[Any]) -> dict[str, Any]:
    """Return the declared types of a config dataclass, by field name."""
    return get_type_hints(config)


def coerce(name: str, value: Any, hint: Any) -> Any:
    """Return ``value`` as the type ``hint``, if that loses nothing.

    Whole numbers become floats where a float is declared, strings paths,
    lists tuples; strings never become numbers.

    Parameters
    ----------
    name
        Dotted name of the field, for the message.
    value
        What was given.
    hint
        The field's declared type.

    Raises
    ------
    ConfigError
        If the value has another type.
    """
    for member in _members(hint):
        fits, result = _match(value, member)
        if fits:
            return result
    expected = " or ".join(_type_name(member) for member in _members(hint))
    msg = f"{name} = {value!r} ({type(value).__name__}); expected {expected}. Change {name}."
    raise ConfigError(msg)


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _type_name(hint: Any) -> str:
    return "None" if hint is type(None) else str(getattr(hint, "__name__", hint))


def _match(value: Any, hint: Any) -> tuple[bool, Any]:
    """Tell whether ``value`` fits one plain type, and give it as that type."""
    if get_origin(hint) is tuple:
        return _match_tuple(value, get_args(hint))
    is_bool = isinstance(value, bool)
    if hint is int and isinstance(value, Integral) and not is_bool:
        return True, int(value)
    if hint is float and isinstance(value, Real) and not is_bool:
        return True, float(value)
    if hint is Path and isinstance(value, str):
        return True, Path(value)
    return isinstance(value, hint) and not (is_bool and hint is not bool), value


def _match_tuple(value: Any, hints: tuple[Any, ...]) -> tuple[bool, Any]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return False, value
    if len(hints) == 2 and hints[1] is Ellipsis:
        hints = (hints[0],) * len(value)
    if len(value) != len(hints):
        return False, value
    matches = [_match(item, hint) for item, hint in zip(value, hints, strict=True)]
    return all(fits for fits, _ in matches), tuple(result for _, result in matches)


def field_docs(config: type[Any]) -> dict[str, str]:
    """Read the docstring under each field of a config dataclass.

    Parameters
    ----------
    config
        A dataclass whose source is there; fields of its bases count.
    """
    docs: dict[str, str] = {}
    for part in reversed(config.__mro__[:-1]):
        docs |= _own_field_docs(part)
    return docs


def _own_field_docs(part: type[Any]) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(part))).body[0]
    statements = body.body if isinstance(body, ast.ClassDef) else []
    docs = {}
    for statement, following in pairwise(statements):
        if not (isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)):
            continue
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            docs[statement.target.id] = inspect.cleandoc(str(following.value.value))
    return docs
