"""Read the docstrings under the fields of the config dataclasses, for help texts and the reference page."""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import Any


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
