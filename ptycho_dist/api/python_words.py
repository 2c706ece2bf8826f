"""Errors of the calls in the words of Python, and with a traceback that ends at the call."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ptycho_dist.errors import PtychoDistError

CALLS = {"refine": "refine_object", "simulate": "simulate_scan", "convert": "convert_scan"}
"""Names of the calls that are not named like their commands."""
_HELP = re.compile(r"'?ptycho-dist (\w+) --help(?: \w+)?'?")
_SWITCHED = re.compile(r"--([a-z]\w*)[ =](true|false)\b")
_NUMBER = re.compile(r"--([A-Za-z]\w*)[ =](-?\d+(?:\.\d+)?(?:e[-+]?\d+)?)\b")
_OVERWRITE = re.compile(r"--overwrite\b(?!=)")
_FLAG = re.compile(r"(?<![\w-])--([A-Za-z]\w*(?:\.\w+)?)\b(?!=)")
P = ParamSpec("P")
R = TypeVar("R")


def in_python_words(text: str) -> str:
    """Replace the flags of the command line in a message by keywords: ``max_epochs=`` for ``--max_epochs``."""
    text = _HELP.sub(lambda found: f"help(ptycho_dist.{CALLS.get(found[1], found[1])})", text)
    text = _SWITCHED.sub(lambda found: f"{found[1]}={found[2].capitalize()}", text)
    text = _NUMBER.sub(r"\1=\2", text)
    text = _OVERWRITE.sub("overwrite=True", text)
    return _FLAG.sub(r"\1=", text)


def readable_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Let a call end a user's error as one exception in Python's words, without the frames inside this package."""

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except PtychoDistError as error:
            error.args = tuple(in_python_words(one) if isinstance(one, str) else one for one in error.args)
            raise error.with_traceback(None) from None

    return called
