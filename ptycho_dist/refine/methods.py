"""What a refinement method is, and all of them by name; each is one file with a decorated function."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ptycho_dist.config.refine import RefineConfig
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.exit_wave import Batch, Ratio, Residual
from ptycho_dist.registry import Registry


@dataclass(frozen=True)
class PerPattern:
    """Values (b, ...) of this rank's patterns of a batch; joined, they are those of all patterns in its order."""

    values: Tensor


Update = Generator[Sequence[Tensor | PerPattern], list[Tensor], None]
"""Yields what this rank's patterns say, and receives it joined: tensors summed over the ranks, rows side by side."""


class Method(Protocol):
    """How residuals become a change of object and probe."""

    @property
    def ratio(self) -> Ratio:
        """Relative change that the modelled wave is asked for."""

    def update(self, estimate: Estimate, batch: Batch, residual: Residual, scale: float) -> Update:
        """Change the estimate by what a batch says; the same on every rank, given the same joined values.

        Parameters
        ----------
        estimate
            Changed in place.
        batch, residual
            This rank's part of the batch.
        scale
            Factor on the step lengths.
        """

    def state(self) -> dict[str, Tensor]:
        """Return what the method remembers between updates, by name."""

    def restore(self, state: dict[str, Tensor]) -> None:
        """Restore a state."""


class Stateless:
    """A method that remembers nothing between updates."""

    def state(self) -> dict[str, Tensor]:
        """Return an empty state."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Accept the empty state."""


Maker = Callable[[RefineConfig, Estimate], Method]
_METHODS: Registry[Maker] = Registry("refinement method", "ptycho_dist.refine")
refinement_method = _METHODS.register
"""Decorator with a name; its defaults are in config.refine.METHOD_DEFAULTS."""


def make_method(config: RefineConfig, estimate: Estimate) -> Method:
    """Make the method that the (resolved) settings name."""
    return _METHODS.entries()[config.method](config, estimate)


def step_lengths(config: RefineConfig) -> tuple[float, float]:
    """Step lengths of object and probe in resolved settings."""
    return float(config.object_step or 0), float(config.probe_step or 0)
