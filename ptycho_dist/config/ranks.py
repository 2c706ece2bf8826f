"""Ranks of commands that only read and write files."""

from __future__ import annotations

from dataclasses import dataclass

from ptycho_dist.config import validators


@dataclass(frozen=True, kw_only=True)
class RanksConfig:
    """How many ranks share the work."""

    devices: int | str = "auto"
    """Ranks per node. auto: what the launcher started on this node, else 1."""

    timeout_s: float = 300.0
    """Longest wait of one rank for the others, in seconds."""

    def __post_init__(self) -> None:
        if self.devices != "auto":
            validators.require_int("ranks.devices", self.devices, 1)
        validators.require_positive("ranks.timeout_s", self.timeout_s)
