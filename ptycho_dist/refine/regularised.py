"""Accelerated proximal gradient on the Poisson likelihood, with an object of little detail."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ptycho_dist.physics.shrinkage import shrink
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.exit_wave import Batch, Residual
from ptycho_dist.refine.methods import PerPattern, Update
from ptycho_dist.refine.pie import object_direction

LEAST_COUNTS = 1e-3
"""Added to modelled counts, so that a photon where none is expected does not decide everything."""
_STEP, _LEAST_LIGHT = 0.5, 0.02


def guarded_poisson_ratio(measured_BNN: Tensor, modelled_BNN: Tensor) -> Tensor:
    r""":math:`n / (I + c) - 1` with a small c: the Poisson gradient where hardly any light is modelled, too."""
    ratio: Tensor = (measured_BNN.square() / (modelled_BNN.square() + LEAST_COUNTS)).sub_(1)
    return ratio


class Regularised:
    r"""Minimises the negative log-likelihood of Poisson counts plus a weight times the object's wavelet detail.

    One step in each pass over all patterns: along the gradient, over twice the light that each pixel got; then the
    detail is shrunk by the weight over the same (:func:`~ptycho_dist.physics.shrinkage.shrink`); then the change is
    extrapolated, anew where it turned back. The weight is one over the size of detail that is expected, in
    transmission, so it does not depend on the dose.

    Beck and Teboulle, SIAM J. Imaging Sci. 2, 183 (2009), DOI 10.1137/080716542, Eqs. 4.1 to 4.3; O'Donoghue and
    Candes, Found. Comput. Math. 15, 715 (2015), DOI 10.1007/s10208-013-9150-3, Section 3.2 (gradient scheme).

    Parameters
    ----------
    object_HW
        Where it starts.
    light_HW
        Counts that light each pixel in all patterns of a pass.
    weight
        Of the detail; 0 for the likelihood alone.
    n_patterns
        Patterns in a pass.
    """

    ratio = staticmethod(guarded_poisson_ratio)

    def __init__(self, object_HW: Tensor, light_HW: Tensor, weight: float, n_patterns: int) -> None:
        self._step_HW = _STEP / (light_HW + _LEAST_LIGHT * light_HW.max())
        self._weight, self._n_patterns = weight, n_patterns
        self._reached = object_HW.clone()
        self._gradient = torch.zeros_like(object_HW)
        self._met, self._inertia = 0, 1.0

    def update(self, estimate: Estimate, batch: Batch, residual: Residual, scale: float) -> Update:
        """Gather the gradient; the last batch of a pass makes the step."""
        (rows,) = yield [PerPattern(object_direction(estimate.probe_PNN, residual))]
        batch.add_to(self._gradient, rows, scale)
        self._met += len(batch.everyone)
        if self._met == self._n_patterns:
            self._step(estimate)

    def finish(self, estimate: Estimate) -> None:
        """Take back the last extrapolation."""
        estimate.object_HW.copy_(self._reached)

    def state(self) -> dict[str, Tensor]:
        """Return where the last step ended, and the inertia."""
        inertia = torch.tensor(self._inertia, dtype=torch.float64)
        return {"reached": torch.view_as_real(self._reached), "inertia": inertia}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Restore a state."""
        torch.view_as_real(self._reached).copy_(state["reached"])
        self._inertia = float(state["inertia"])

    def _step(self, estimate: Estimate) -> None:
        here = estimate.object_HW
        there = here + self._step_HW * self._gradient
        if self._weight:
            there = shrink(there, self._weight * self._step_HW)
        change = there - self._reached
        back = torch.view_as_real(here - there) * torch.view_as_real(change)
        inertia = 1.0 if float(back.sum()) > 0 else self._inertia
        self._inertia = (1 + math.sqrt(1 + 4 * inertia**2)) / 2
        here.copy_(there).add_(change, alpha=(inertia - 1) / self._inertia)
        self._reached = there
        self._gradient.zero_()
        self._met = 0
