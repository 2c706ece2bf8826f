"""The file ``metrics.json``: every number of an evaluation, readable by any JSON reader."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_dist.atomic import atomic_path


def write_metrics(path: Path | str, metrics: Mapping[str, Any]) -> Path:
    """Write metrics as strict JSON; NaN and infinity, which JSON lacks, become null.

    The file appears under its name only when it is complete.

    Parameters
    ----------
    path
        JSON file.
    metrics
        Numbers, strings, lists, mappings, arrays, paths; nested as needed.

    Raises
    ------
    TypeError
        If a value has no JSON form.
    """
    path = Path(path)
    text = json.dumps(plain(metrics), indent=2, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return path


def plain(value: Any) -> Any:
    """Return a value in plain JSON types, NaN and infinity as None."""
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
