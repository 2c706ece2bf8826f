"""What a batch of patterns says about the estimate: the forward model and its misfit, propagated back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ptycho_dist.physics.propagators import Propagator
from ptycho_dist.physics.windows import Windows
from ptycho_dist.refine.estimate import Estimate

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
    amplitude_BNN
        Square roots of their counts, in detector order.
    crowding
        How many times the light of one pattern the patterns of the batch reach together.
    mask_NN
        Valid pixels in detector order; None where all are.
    """

    everyone: Windows
    part: slice
    own: Windows
    amplitude_BNN: Tensor
    crowding: float = 1.0
    mask_NN: Tensor | None = None


@dataclass(frozen=True)
class Misfit:
    """How this rank's patterns of a batch differ from the model.

    Parameters
    ----------
    patches_BNN
        Object patches.
    wave_BPNN
        What the exit waves lack: the change that would explain the patterns, in object space.
    squared_B
        Sum over valid pixels of the squared amplitude difference.
    root_BNN
        Square roots of the modelled counts.
    """

    patches_BNN: Tensor
    wave_BPNN: Tensor
    squared_B: Tensor
    root_BNN: Tensor


Ratio = Callable[[Tensor, Tensor], Tensor]
"""From measured and modelled amplitudes to what the modelled wave lacks, relative to it."""


def amplitude_ratio(amplitude_BNN: Tensor, root_BNN: Tensor) -> Tensor:
    r""":math:`\sqrt{n / I} - 1`: replaces the modelled amplitude by the measured one.

    The gradient of the Gaussian likelihood of amplitudes (Odstrcil et al., Opt. Express 26,
    3108 (2018), DOI 10.1364/OE.26.003108, Eq. 12).
    """
    return (amplitude_BNN - root_BNN).div_(root_BNN)


def poisson_ratio(amplitude_BNN: Tensor, root_BNN: Tensor) -> Tensor:
    r""":math:`n / I - 1`, the gradient of the Poisson likelihood (Odstrcil et al., as above, Eq. 12)."""
    return (amplitude_BNN / root_BNN).square_().sub_(1)


def misfit(estimate: Estimate, batch: Batch, propagator: Propagator, ratio: Ratio) -> Misfit:
    """Propagate the batch of this rank forward, compare, and propagate the difference back."""
    patches = batch.own.gather(estimate.object_HW)
    wave = _through(propagator.forward, patches[:, None] * estimate.probe_PNN)
    model = _one_mode(wave) if wave.shape[1] == 1 else intensity(wave, 1)
    if estimate.background_NN is not None:
        model = model + estimate.background_NN
    root = (model + _TINY).sqrt_()
    gap = batch.amplitude_BNN - root
    change = ratio(batch.amplitude_BNN, root)
    if batch.mask_NN is not None:
        gap *= batch.mask_NN
        change *= batch.mask_NN
    wave *= change[:, None]
    squared = torch.linalg.vecdot(gap.flatten(1), gap.flatten(1))
    return Misfit(patches, _through(propagator.backward, wave), squared, root)


def _through(propagate: Callable[[Tensor], Tensor], wave_BPNN: Tensor) -> Tensor:
    """Propagate; FFT libraries refuse a batch of none, which a rank may have."""
    return propagate(wave_BPNN) if len(wave_BPNN) else wave_BPNN


def intensity(wave_BPNN: Tensor, axis: int) -> Tensor:
    """Squared magnitude, summed over an axis.

    By the product with the conjugate: on a CPU the squares of real and imaginary parts, which do not lie side by side
    in memory, take three times as long.
    """
    return (wave_BPNN * wave_BPNN.conj()).sum(dim=axis).real


def _one_mode(wave_BPNN: Tensor) -> Tensor:
    return (wave_BPNN[:, 0] * wave_BPNN[:, 0].conj()).real
