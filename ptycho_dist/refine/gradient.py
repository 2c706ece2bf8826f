"""Adam on the Poisson likelihood."""

from __future__ import annotations

import torch
from torch import Tensor

from ptycho_dist.config.refine import RefineConfig
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.exit_wave import Batch, Residual, poisson_ratio
from ptycho_dist.refine.methods import PerPattern, Update, refinement_method, step_lengths
from ptycho_dist.refine.pie import object_direction, probe_direction


class Gradient:
    """Gradient of the negative log-likelihood of Poisson counts, by the adjoint of the model, for Adam.

    Thibault and Guizar-Sicairos, New J. Phys. 14, 063004 (2012), DOI 10.1088/1367-2630/14/6/063004; Kingma
    and Ba, arXiv:1412.6980.

    Parameters
    ----------
    estimate
        What is refined.
    object_step
        Learning rate of the object's real and imaginary part.
    probe_step
        Learning rate of the probe's, relative to its largest magnitude; 0 fixes the probe.
    """

    ratio = staticmethod(poisson_ratio)

    def __init__(self, estimate: Estimate, object_step: float, probe_step: float) -> None:
        self._steps = (object_step, probe_step * float(estimate.probe_PNN.abs().max()))
        self._unknowns = [torch.view_as_real(one) for one in (estimate.object_HW, estimate.probe_PNN)]
        groups = [{"params": [one], "lr": step} for one, step in zip(self._unknowns, self._steps, strict=True)]
        self._adam = torch.optim.Adam(groups)

    def update(self, estimate: Estimate, batch: Batch, residual: Residual, scale: float) -> Update:
        """Make one step of Adam; see :class:`~ptycho_dist.refine.methods.Method`."""
        direction = PerPattern(object_direction(estimate.probe_PNN, residual))
        rows, probe_gradient, *_ = yield [direction, *probe_direction(residual)]
        object_gradient = torch.zeros_like(estimate.object_HW)
        batch.add_to(object_gradient, rows, -1.0)
        for unknown, gradient in zip(self._unknowns, (object_gradient, -probe_gradient), strict=True):
            unknown.grad = torch.view_as_real(gradient)
        for group, step in zip(self._adam.param_groups, self._steps, strict=True):
            group["lr"] = step * scale
        self._adam.step()

    def state(self) -> dict[str, Tensor]:
        """Adam's moments."""
        named = self._adam.state_dict()["state"]
        return {f"{number}.{name}": value for number, one in named.items() for name, value in one.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Restore Adam's moments."""
        whole = self._adam.state_dict()
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            number, _, name = key.partition(".")
            moments.setdefault(int(number), {})[name] = value
        self._adam.load_state_dict({**whole, "state": moments})


@refinement_method("gradient")
def make_gradient(config: RefineConfig, estimate: Estimate) -> Gradient:
    """Make the method with the steps of resolved settings."""
    return Gradient(estimate, *step_lengths(config))
