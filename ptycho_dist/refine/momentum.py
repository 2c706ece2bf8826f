"""Momentum of the object."""

from __future__ import annotations

from torch import Tensor

from ptycho_dist.refine.estimate import Estimate


class Push:
    """Makes a share of the object's change once more, and of the changes before it, which decay.

    The momentum of mPIE, applied after many updates rather than each (Maiden, Johnson and Li, Optica 4, 736 (2017),
    DOI 10.1364/OPTICA.4.000736): what many updates have in common is a direction, what one asks for is not.

    Parameters
    ----------
    estimate
        Whose object is pushed.
    share
        Share of a change that is made once more; 0 for none.
    velocity_HW
        Decaying sum of changes so far; None at the start.

    Attributes
    ----------
    before_HW
        The object as it was at the last push, or at the start; None without a share.
    """

    def __init__(self, estimate: Estimate, share: float, velocity_HW: Tensor | None) -> None:
        self._estimate, self._share, self.velocity_HW = estimate, share, velocity_HW
        self.before_HW = estimate.object_HW.clone() if share else None

    def repeat(self) -> None:
        """Push the object by what it was changed since the last time."""
        if self.before_HW is None:
            return
        object_HW = self._estimate.object_HW
        change = object_HW - self.before_HW
        if self.velocity_HW is not None:
            change.add_(self.velocity_HW, alpha=self._share)
        self.velocity_HW = change
        object_HW.add_(change, alpha=self._share)
        self.before_HW.copy_(object_HW)
