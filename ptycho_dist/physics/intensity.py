"""The forward model: the only place where object, probe and propagation become counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ptycho_dist.physics.probe import summed_intensity
from ptycho_dist.physics.propagators import Propagator


@dataclass(frozen=True)
class ForwardModel:
    r"""Counts of a pattern: :math:`I = f \left( \sum_p |D[P_p O]|^2 + b \right)`.

    Training, back-projection, refinement, evaluation and simulation all use it. Detector arrays are in the order
    of the propagator (:meth:`~ptycho_dist.physics.propagators.Propagator.arrange`).

    Parameters
    ----------
    probe_PNN
        Modes P whose propagated waves square to counts, complex, shape (P, N, N).
    propagator
        D, from the object to the detector.
    background_NN
        Counts b that do not come from the object, float, shape (N, N); None for none.
    """

    probe_PNN: Tensor
    propagator: Propagator
    background_NN: Tensor | None = None

    def fixed(self) -> ForwardModel:
        """Return it cut off from differentiation."""
        background = None if self.background_NN is None else self.background_NN.detach()
        return ForwardModel(self.probe_PNN.detach(), self.propagator, background)

    def waves(self, objects_BNN: Complex[Tensor, "B N N"]) -> Complex[Tensor, "P B N N"]:
        """Propagate object patches O, times the probe, to the detector."""
        exit_waves = self.probe_PNN[:, None] * objects_BNN
        # FFT libraries refuse a batch of none, which a rank may have.
        return self.propagator.forward(exit_waves) if len(objects_BNN) else exit_waves

    def intensity(
        self, waves_PBNN: Complex[Tensor, "P B N N"], flux_B: Float[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B N N"]:
        """Turn waves at the detector into counts; ``flux_B`` is the brightness f of each pattern, 1 where not given."""
        counts = summed_intensity(waves_PBNN)
        if self.background_NN is not None:
            counts = counts + self.background_NN
        return counts if flux_B is None else counts * flux_B[:, None, None]

    def counts(
        self, objects_BNN: Complex[Tensor, "B N N"], flux_B: Float[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B N N"]:
        """Turn object patches into counts."""
        return self.intensity(self.waves(objects_BNN), flux_B)


class Modelled(NamedTuple):
    """What a forward model makes of object patches; not differentiated.

    Patches that are alike for all patterns may be given once.
    """

    waves_PBNN: Tensor
    """Waves at the detector."""
    intensity_BNN: Tensor
    """Counts."""

    @classmethod
    def of(cls, objects_BNN: Complex[Tensor, "B N N"], model: ForwardModel) -> Modelled:
        """Propagate object patches to the detector."""
        with torch.no_grad():
            waves = model.waves(objects_BNN)
            return cls(waves, model.intensity(waves))
