"""What the ranks say of a step, and when each of them knows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ptycho_dist.distributed.collectives import Sum, start_sum

WISHES = ("stop", "save", "is_late")


@dataclass(frozen=True)
class Agreed:
    """What all ranks know.

    Parameters
    ----------
    stop, save, is_late
        Whether any rank wants to stop, or to save, or to come to an end.
    fault
        What is wrong with a step; empty where nothing is.
    fault_step
        Number of that step, from 1; 0 where nothing is wrong.
    """

    stop: bool = False
    save: bool = False
    is_late: bool = False
    fault: str = ""
    fault_step: int = 0


@dataclass(frozen=True)
class Step:
    """A step whose numbers are on their way.

    Parameters
    ----------
    number
        Batches done before it.
    epoch
        In which it was done.
    weights
        Of the terms of the loss.
    patterns
        Of the step, over all ranks.
    rates
        Learning rates, by name.
    """

    number: int
    epoch: int
    weights: dict[str, float]
    patterns: float
    rates: dict[str, float]


@dataclass
class Said:
    """Numbers of a step: this rank's, and their sums over the ranks; they are read when they are asked for.

    Parameters
    ----------
    step
        Which step.
    sums
        Still on their way; None where they have been read.
    values
        Read: each term of the loss, the norm of the gradient and the wishes, of this rank and of all.
    is_logged
        Whether the log has them.
    """

    step: Step
    sums: Sum | None = None
    values: list[list[float]] = field(default_factory=list)
    is_logged: bool = False

    @classmethod
    def begin(cls, step: Step, terms: Mapping[str, Tensor], norm: Tensor, wishes: Mapping[str, bool]) -> Said:
        """Send the numbers on their way; nothing is waited for."""
        numbers = torch.stack([*terms.values(), norm]).double()
        wanted = torch.tensor([float(wishes[name]) for name in WISHES], dtype=torch.float64)
        return cls(step, start_sum(torch.cat([numbers, wanted.to(numbers.device, non_blocking=True)])))

    def read(self) -> list[list[float]]:
        """Wait for the numbers."""
        if self.sums is not None:
            self.values, self.sums = self.sums.read(), None
        return self.values

    def void_wishes(self) -> None:
        """Leave out what ranks wished, for it is done."""
        for values in self.read():
            values[-len(WISHES) :] = [0.0] * len(WISHES)

    @property
    def terms(self) -> dict[str, float]:
        """Each term of the loss, summed over the patterns of the global step."""
        return dict(zip(self.step.weights, self.read()[1], strict=False))

    @property
    def loss(self) -> float:
        """Weighed loss, summed over the patterns of the global step."""
        return sum(self.step.weights[name] * term for name, term in self.terms.items())

    @property
    def own_loss(self) -> float:
        """Sum of the terms of this rank."""
        return sum(self.read()[0][: len(self.step.weights)])

    @property
    def gradient_norm(self) -> float:
        """Norm of the gradient, where it is watched; summed over the ranks."""
        return self.read()[1][len(self.step.weights)]

    @property
    def is_finite(self) -> bool:
        """Whether loss and gradient are."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm)

    def wishes(self) -> tuple[bool, bool, bool]:
        """Whether any rank wants to stop, to save, to come to an end."""
        stop, save, is_late = (value > 0 for value in self.read()[1][-len(WISHES) :])
        return stop, save, is_late

    def state(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {"step": vars(self.step), "values": self.read(), "is_logged": self.is_logged}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Said:
        """Take the state of a checkpoint."""
        return cls(Step(**state["step"]), None, [list(one) for one in state["values"]], state["is_logged"])
