"""The file ``metrics.json``: every number of an evaluation, readable by any JSON reader."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_dist.atomic import atomic_path


class NotMeasured(str):
    """A reason, in place of a number that cannot be determined."""

    __slots__ = ()


def write_metrics(path: Path | str, metrics: Mapping[str, Any]) -> Path:
    """Write metrics as strict JSON; a number that is missing is null, and ``null_reasons`` says why.

    The file appears under its name only when it is complete.

    Parameters
    ----------
    path
        JSON file.
    metrics
        Numbers, strings, lists, mappings, arrays, paths; nested as needed. In place of a number that cannot be
        determined its :class:`NotMeasured`.

    Raises
    ------
    TypeError
        If a value has no JSON form.
    ValueError
        If a number is NaN or infinite and no reason is given.
    """
    path = Path(path)
    values = {name: None if isinstance(value, NotMeasured) else plain(value) for name, value in metrics.items()}
    reasons = {name: str(value) for name, value in metrics.items() if isinstance(value, NotMeasured)}
    text = json.dumps(values | ({"null_reasons": reasons} if reasons else {}), indent=2, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return path


def plain(value: Any) -> Any:
    """Return a value in plain JSON types."""
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
