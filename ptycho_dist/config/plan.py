"""What `ptycho-dist plan` predicts."""

from __future__ import annotations

from dataclasses import dataclass

from ptycho_dist.config import validators
from ptycho_dist.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """For which numbers of ranks to predict, and the form of the report."""

    ranks: str = "1,2,4,8,16,32,64,128,256,512,1024"
    """Numbers of ranks to predict, with commas."""

    json: bool = False
    """Report as JSON, with what was measured."""

    def __post_init__(self) -> None:
        validators.require_bool("plan.json", self.json)
        words = self.ranks.split(",") if isinstance(self.ranks, str) else []
        if not words or not all(word.strip().isdigit() and int(word) > 0 for word in words):
            msg = f"plan.ranks = {self.ranks!r}; expected numbers of ranks such as 1,2,4. Change plan.ranks."
            raise ConfigError(msg)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of ranks, ascending."""
        return tuple(sorted({int(word) for word in self.ranks.split(",")}))
