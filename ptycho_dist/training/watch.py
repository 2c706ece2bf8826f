"""Whether a training goes wrong: a step whose numbers are not finite, or losses far above those before."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WINDOW = 50
"""Steps whose losses are compared with those of as many steps before."""
_FIRST = 10
"""Steps of the first window, so that losses are soon compared with those of the untrained network."""
_EXPLODED, _DOUBTFUL = 5.0, 3.0
"""Factors above the best window: there losses have exploded; from there on a state is not taken for a good one."""


@dataclass
class Watch:
    """Losses of a training by windows of 50 steps; the same on every rank, for its numbers are.

    Parameters
    ----------
    loss
        Sum of the losses of the present window.
    steps
        Steps in it.
    best
        Smallest mean loss of a whole window with the present weights of terms; None before the first.
    weights
        Weights of the terms; with others a loss means something else.
    """

    loss: float = 0.0
    steps: int = 0
    best: float | None = None
    weights: dict[str, float] = field(default_factory=dict)

    def look(self, loss: float, gradient_norm: float, weights: Mapping[str, float]) -> str:
        """Take a step in, and say what is wrong with it; empty where nothing is."""
        if dict(weights) != self.weights:
            self.loss, self.steps, self.best, self.weights = 0.0, 0, None, dict(weights)
        if not math.isfinite(loss):
            return f"the training loss is {loss}"
        if not math.isfinite(gradient_norm):
            return f"the norm of the gradient is {gradient_norm}"
        self.loss, self.steps = self.loss + loss, self.steps + 1
        if self.best is not None and self.loss > _EXPLODED * WINDOW * self.best:
            return (
                f"the losses of the last {self.steps} steps add up to {self.loss:.3g}, those of {WINDOW} steps before "
                f"to {WINDOW * self.best:.3g}"
            )
        return ""

    @property
    def is_full(self) -> bool:
        """Whether a window is complete."""
        return self.is_full_with(0)

    def is_full_with(self, steps: int) -> bool:
        """Whether so many more steps complete it."""
        return self.steps + steps >= (WINDOW if self.best is not None else min(_FIRST, WINDOW))

    def turn(self) -> bool:
        """Begin the next window; tells whether the losses of this one are those of a good state."""
        mean = self.loss / max(self.steps, 1)
        self.best = mean if self.best is None else min(self.best, mean)
        self.loss, self.steps = 0.0, 0
        return mean <= _DOUBTFUL * self.best

    def forget(self) -> None:
        """Begin the present window anew."""
        self.loss, self.steps = 0.0, 0

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what ``dataclasses.asdict`` gave."""
        for name, value in state.items():
            setattr(self, name, value)
