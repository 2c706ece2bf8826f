"""How long a training lasts, and its learning rate on the way: as long as more of it pays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DECAY = 0.25
"""Share of all steps, the last ones, over which the rate falls to its least."""
_LEAST_LOOKS, _LATEST = 6, 3
"""Looks before a training is judged, and the share of them (a third) whose best is held against all before."""


@dataclass
class Pace:
    """Where a training stands: warm-up, constant rate, then a decay that begins when more steps no longer pay.

    The decay after a plateau, instead of a schedule of a length set beforehand, is that of Hu et al. (2024),
    arXiv:2404.06395, Sect. 4.

    Parameters
    ----------
    total
        Steps of the longest training.
    min_gain
        Relative gain of the error over the latest looks below which more steps do not pay; 0 for never.
    decay_from, decay_steps
        First step of the decay, and its length.
    errors
        Errors that were found so far.
    reason
        Why the decay begins where it does.
    """

    total: int
    min_gain: float
    decay_from: int = -1
    decay_steps: int = -1
    errors: list[float] = field(default_factory=list)
    reason: str = "all steps were done"

    def __post_init__(self) -> None:
        if self.decay_from < 0:
            self.decay_steps = max(1, round(DECAY * self.total))
            self.decay_from = self.total - self.decay_steps

    @property
    def end(self) -> int:
        """Steps after which the training ends."""
        return self.decay_from + self.decay_steps

    def factor(self, step: int, warmup: int, least: float) -> float:
        """Rate at a step over its peak."""
        late = (step - self.decay_from) / self.decay_steps
        return min((step + 1) / warmup, 1.0) * (1.0 - (1.0 - least) * min(max(late, 0.0), 1.0))

    def is_decaying(self, step: int) -> bool:
        """Whether the last part has begun."""
        return step >= self.decay_from

    def look(self, step: int, error: float) -> bool:
        """Take an error in; tells whether it makes the training end."""
        self.errors.append(error)
        if self.is_decaying(step) or self.min_gain == 0 or len(self.errors) < _LEAST_LOOKS:
            return False
        latest = len(self.errors) // _LATEST
        before, now = min(self.errors[:-latest]), min(self.errors[-latest:])
        gain = 1 - now / before if before > 0 else 0.0
        if gain >= self.min_gain:
            return False
        self.slow_down(step, f"the error of the regions gains {max(gain, 0.0):.2%} over a third of the steps")
        return True

    def slow_down(self, step: int, reason: str) -> None:
        """Begin the decay now; it lasts a third of the steps so far, that is the same share of all."""
        steps = max(1, round(step * DECAY / (1 - DECAY)))
        self.decay_from, self.decay_steps, self.reason = step, min(steps, max(1, self.total - step)), reason

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what ``dataclasses.asdict`` gave."""
        for name, value in state.items():
            setattr(self, name, value)
