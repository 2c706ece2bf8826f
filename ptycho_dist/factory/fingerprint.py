"""One hash for one set of settings, equal in every process."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from ptycho_dist.errors import ConfigError


def plain(value: Any) -> Any:
    """Turn configs, paths, tuples and odd floats into what JSON can hold.

    Raises
    ------
    ConfigError
        If a value has no canonical form.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    msg = f"a payload holds {value!r} ({type(value).__name__}); expected plain values. Convert it before."
    raise ConfigError(msg)


def canonical_json(value: Any) -> str:
    """Text that is equal if and only if the values are: sorted keys, floats by ``repr``."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
