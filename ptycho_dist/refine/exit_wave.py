"""What a batch of patterns says of the exit waves, of its flux and of the background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ptycho_dist.physics.likelihood import modulus
from ptycho_dist.physics.propagators import Propagator
from ptycho_dist.physics.windows import Windows
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.fused import Fused

_TINY = 1e-6


@dataclass(frozen=True)
class Batch:
    """Patterns that are updated together, and this rank's part of them.

    Parameters
    ----------
    everyone
        Windows of all patterns of the batch, in the order all ranks agree on.
    part
        Which of them are this rank's.
    own
        Windows of this rank's patterns.
    modulus_BNN
        Square roots of their counts at a flux of 1, in detector order.
    is_crowded
        Whether some of the patterns see the same part of the object.
    mask_NN
        Valid pixels in detector order; None where all are.
    fused
        Compiled loops to use; None for operations of torch.
    """

    everyone: Windows
    part: slice
    own: Windows
    modulus_BNN: Tensor
    is_crowded: bool = False
    mask_NN: Tensor | None = None
    fused: Fused | None = None

    def add_to(self, canvas_HW: Tensor, steps_BNN: Tensor, factor: float) -> None:
        """Add ``factor`` times the steps (B, N, N) of all patterns to a canvas, in place."""
        if self.fused is None:
            self.everyone.add_to(canvas_HW, steps_BNN, factor)
        else:
            self.fused.add_to(canvas_HW, self.everyone, steps_BNN, factor)


@dataclass(frozen=True)
class Residual:
    """How this rank's patterns of a batch differ from the model.

    Parameters
    ----------
    patches_BNN
        Object patches.
    exit_waves_PBNN
        Change of the exit waves that would explain the patterns.
    squared_B
        Sum over valid pixels of the squared amplitude difference, at a flux of 1.
    modelled_BNN
        Square roots of the modelled counts.
    fused
        Compiled loops to use; None for operations of torch.
    """

    patches_BNN: Tensor
    exit_waves_PBNN: Tensor
    squared_B: Tensor
    modelled_BNN: Tensor
    fused: Fused | None = None


Ratio = Callable[[Tensor, Tensor], Tensor]
"""From measured and modelled amplitudes to the relative change of the modelled wave that is asked for."""


def amplitude_ratio(measured_BNN: Tensor, modelled_BNN: Tensor) -> Tensor:
    r""":math:`\sqrt{n / I} - 1`: replaces the modelled amplitude by the measured one.

    The gradient of the Gaussian likelihood of amplitudes (Odstrcil et al., Opt. Express 26,
    3108 (2018), DOI 10.1364/OE.26.003108, Eq. 12).
    """
    return (measured_BNN - modelled_BNN).div_(modelled_BNN)


def poisson_ratio(measured_BNN: Tensor, modelled_BNN: Tensor) -> Tensor:
    r""":math:`n / I - 1`, the gradient of the Poisson likelihood (Odstrcil et al., as above, Eq. 12)."""
    return (measured_BNN / modelled_BNN).square_().sub_(1)


def residual(estimate: Estimate, batch: Batch, propagator: Propagator, ratio: Ratio) -> Residual:
    """Compare this rank's patterns of a batch with the forward model, and propagate the difference back."""
    if batch.fused is not None and ratio is amplitude_ratio:
        found = batch.fused.exit_waves(
            batch.own, estimate.object_HW, estimate.probe_PNN, propagator, batch.modulus_BNN, estimate.background_NN
        )
        return Residual(*found, batch.fused)
    model = estimate.forward_model(propagator)
    patches = batch.own.gather(estimate.object_HW)
    waves = model.waves(patches)
    modelled = modulus(model.intensity(waves))
    difference = batch.modulus_BNN - modelled
    change = ratio(batch.modulus_BNN, modelled)
    if batch.mask_NN is not None:
        difference *= batch.mask_NN
        change *= batch.mask_NN
    torch.view_as_real(waves).mul_(change[..., None])
    exit_waves = propagator.backward(waves) if len(patches) else waves
    squared = torch.linalg.vecdot(difference.flatten(1), difference.flatten(1))
    return Residual(patches, exit_waves, squared, modelled, batch.fused)


def flux_ratio(batch: Batch, residual: Residual) -> Tensor:
    """Factor (B,) on the illumination of each of this rank's patterns that explains its photons best.

    The least-squares fit of modelled to measured amplitudes, squared.
    """
    modelled, measured = residual.modelled_BNN, batch.modulus_BNN
    if batch.mask_NN is not None:
        modelled, measured = modelled * batch.mask_NN, measured * batch.mask_NN
    fitted: Tensor = torch.linalg.vecdot(measured.flatten(1), modelled.flatten(1))
    power = torch.linalg.vecdot(modelled.flatten(1), modelled.flatten(1)).clamp_min(_TINY)
    factor: Tensor = (fitted / power).square()
    return factor.double()


def background_ratio(batch: Batch, residual: Residual) -> Tensor:
    """Measured over modelled counts (N, N), summed over this rank's patterns.

    Divided by their number it is the factor of an expectation-maximisation step of the background under
    Poisson counts (Shepp and Vardi, IEEE Trans. Med. Imaging 1, 113 (1982), DOI 10.1109/TMI.1982.4307558).
    """
    return (batch.modulus_BNN / residual.modelled_BNN).square().sum(dim=0)
