"""The methods by name; a method changes object and probe by what a batch says."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from ptycho_dist.config.refine import RefineConfig
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.exit_wave import Batch, Misfit, Ratio
from ptycho_dist.refine.gradient import Gradient
from ptycho_dist.refine.lsqml import LeastSquares
from ptycho_dist.refine.pie import Pie


class Method(Protocol):
    """How a misfit becomes a change of object and probe."""

    @property
    def ratio(self) -> Ratio:
        """What the modelled amplitudes lack, relative to them."""

    def update(self, estimate: Estimate, batch: Batch, seen: Misfit, scale: float) -> None:
        """Change the estimate by what a batch says, the same on every rank.

        Parameters
        ----------
        estimate
            Changed in place.
        batch, seen
            This rank's part of the batch; collective calls join the parts.
        scale
            Factor on the step lengths.
        """

    def state(self) -> dict[str, Tensor]:
        """Give what the method remembers between updates, by name."""

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up a state."""


def make_method(config: RefineConfig, estimate: Estimate) -> Method:
    """Make the method that the (resolved) settings name."""
    object_step, probe_step = float(config.object_step or 0), float(config.probe_step or 0)
    makers: dict[str, Any] = {
        "pie": lambda: Pie(config.alpha, object_step, probe_step),
        "lsqml": lambda: LeastSquares(object_step, probe_step),
        "gradient": lambda: Gradient(estimate, object_step, probe_step),
    }
    method: Method = makers[config.method]()
    return method
