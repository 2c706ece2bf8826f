"""What a stage of a network makes of some patterns that share a canvas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Complex, Float
from torch import Tensor

from ptycho_dist.model.neighbours import Neighbours
from ptycho_dist.physics.intensity import ForwardModel, Modelled
from ptycho_dist.physics.likelihood import Patterns
from ptycho_dist.physics.misfit import pattern_misfits
from ptycho_dist.physics.patches import extract_at


@dataclass(frozen=True)
class StageObject:
    """Patches, and the object on which they agree.

    Its frames and what the forward model makes of them serve the loss of this stage and the next stage alike.

    Parameters
    ----------
    patches_Bnn
        Complex, shape (B, n, n); differentiable.
    canvas_HW
        Their average, complex, shape (H, W); differentiable.
    near
        Where the patterns lie on it.
    patterns
        The patterns.
    physics
        Probe, propagation and background; differentiable.
    """

    patches_Bnn: Tensor
    canvas_HW: Tensor
    near: Neighbours
    patterns: Patterns
    physics: ForwardModel

    @cached_property
    def frames_BNN(self) -> Complex[Tensor, "B N N"]:  # noqa: N802  # the letters of shapes
        """Object in the frame of each pattern; differentiable in the canvas."""
        return extract_at(self.canvas_HW, self.near.frames)

    @cached_property
    def modelled(self) -> Modelled:
        """What the forward model makes of the frames."""
        return Modelled.of(self.frames_BNN.detach(), self.physics.fixed())

    def misfits(self, kind: str) -> Float[Tensor, " B"]:
        """Misfit of each pattern to the object; ``kind`` as in physics.likelihood."""
        return pattern_misfits(kind, self.frames_BNN, self.physics, self.patterns, self.modelled)
