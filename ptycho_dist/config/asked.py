"""What is asked of a command besides the settings of its first stage. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptycho_dist.config.precedence import RunRequest, defaults, resolve
from ptycho_dist.config.sections import ALL_SECTIONS


def asked_besides(command: str, request: RunRequest) -> dict[str, Any]:
    """Give what changes the results of a command besides the settings of its first stage, as plain values."""
    asked: dict[str, Any] = {"reference": None if request.reference is None else str(request.reference.resolve())}
    if command != "reconstruct":
        return asked
    found = resolve([*request.levels(ALL_SECTIONS), defaults(ALL_SECTIONS)])
    return asked | {
        stage: {name: one for name, one in found.section(stage).items() if not isinstance(one, Path)}
        for stage in ("inference", "refine")
    }
