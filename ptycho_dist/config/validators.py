"""Small range checks shared by the configuration dataclasses."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from ptycho_dist.config.nearest import nearest
from ptycho_dist.errors import ConfigError


def require_int(name: str, value: Any, minimum: int) -> None:
    """Raise ConfigError unless ``value`` is an int (not bool) of at least ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        msg = f"{name} = {value!r}; expected an integer >= {minimum}. Change {name}."
        raise ConfigError(msg)


def require_optional_int(name: str, value: Any, minimum: int) -> None:
    """Like :func:`require_int`, and None is allowed."""
    if value is not None:
        require_int(name, value, minimum)


def require_positive(name: str, value: Any, *, zero_allowed: bool = False) -> None:
    """Raise ConfigError unless ``value`` is a finite number above (or at) zero."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < 0 or (value == 0 and not zero_allowed):
        bound = ">= 0" if zero_allowed else "> 0"
        msg = f"{name} = {value!r}; expected a finite number {bound}. Change {name}."
        raise ConfigError(msg)


def require_optional_positive(name: str, value: Any) -> None:
    """Like :func:`require_positive`, and None is allowed."""
    if value is not None:
        require_positive(name, value)


def require_choice(name: str, value: Any, choices: Collection[Any]) -> None:
    """Raise ConfigError unless ``value`` is one of ``choices`` (1 is not True)."""
    if not any(value is c or (type(value) is type(c) and value == c) for c in choices):
        listed = ", ".join(repr(c) for c in choices)
        near = nearest(value, choices)
        hint = "" if near is None else f"Did you mean {near!r}? "
        msg = f"{name} = {value!r}; expected one of {listed}. {hint}Change {name}."
        raise ConfigError(msg)


def require_bool(name: str, value: Any) -> None:
    """Raise ConfigError unless ``value`` is True or False."""
    require_choice(name, value, (True, False))


def require_share(name: str, value: Any, most: float) -> None:
    """Raise ConfigError unless ``value`` is a number from 0 to ``most``."""
    require_positive(name, value, zero_allowed=True)
    if value > most:
        msg = f"{name} = {value!r}; expected a number from 0 to {most}. Change {name}."
        raise ConfigError(msg)


def require_fraction(name: str, value: Any) -> None:
    """Raise ConfigError unless ``value`` is a number of at least 0 and below 1."""
    require_positive(name, value, zero_allowed=True)
    if value >= 1.0:
        msg = f"{name} = {value!r}; expected a share below 1. Change {name}."
        raise ConfigError(msg)


def seconds(duration: float | str) -> float:
    """Read a duration in seconds, or as text: DD:HH:MM:SS, from which the left may be missing; NaN if it is neither."""
    if not isinstance(duration, str):
        return float(duration)
    parts = duration.split(":")
    if not 1 <= len(parts) <= len(_UNITS_S) or not all(part.isdigit() for part in parts):
        return math.nan
    return float(sum(int(part) * unit for part, unit in zip(reversed(parts), _UNITS_S, strict=False)))


_UNITS_S = (1, 60, 3600, 86400)


def require_duration(name: str, value: Any) -> None:
    """Raise ConfigError unless ``value`` is a positive duration, as :func:`seconds` reads them."""
    is_known = isinstance(value, int | float | str) and not isinstance(value, bool)
    if not is_known or not (math.isfinite(seconds(value)) and seconds(value) > 0):
        msg = f"{name} = {value!r}; expected seconds, or DD:HH:MM:SS such as 00:01:30:00. Change {name}."
        raise ConfigError(msg)
