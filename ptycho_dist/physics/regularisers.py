"""What is wanted of an object patch beside explaining its pattern: to be like a label, smooth, or of amplitude 1.

Every term is a weighted mean over the pixels of a patch, so that it does not depend on the patch's size.
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

_TINY = 1e-12


def label_error(
    patches_Bnn: Complex[Tensor, "B n n"], labels_Bnn: Complex[Tensor, "B n n"], weight_nn: Float[Tensor, "n n"]
) -> Float[Tensor, " B"]:
    r"""Relative squared error of each patch against its label, at the best global phase of the patch.

    :math:`\min_\varphi \sum w |o - e^{i\varphi} t|^2 / \sum w |t|^2`: a pattern alone does not tell its patch's
    phase. The minimum is at the phase of :math:`\sum w \, \bar{t} o` (Fienup, Appl. Opt. 36, 8352 (1997),
    DOI 10.1364/AO.36.008352).
    """
    own = (weight_nn * squared_magnitude(patches_Bnn)).sum(dim=(-2, -1))
    wanted = (weight_nn * squared_magnitude(labels_Bnn)).sum(dim=(-2, -1))
    overlap = (weight_nn * labels_Bnn.conj() * patches_Bnn).sum(dim=(-2, -1))
    magnitude = torch.sqrt(squared_magnitude(overlap) + _TINY**2)
    return (own + wanted - 2 * magnitude) / wanted.clamp_min(_TINY)


def total_variation(patches_Bnn: Complex[Tensor, "B n n"], weight_nn: Float[Tensor, "n n"]) -> Float[Tensor, " B"]:
    """Isotropic total variation of each complex patch, the weighted mean over its pixels.

    Rudin, Osher and Fatemi, Physica D 60, 259 (1992), Eq. 2.2, DOI 10.1016/0167-2789(92)90242-F, with a slope
    that stays finite where the patch is flat.
    """
    inside = patches_Bnn[:, :-1, :-1]
    steps = (patches_Bnn[:, 1:, :-1] - inside, patches_Bnn[:, :-1, 1:] - inside)
    length = torch.sqrt(sum(map(squared_magnitude, steps), torch.tensor(1e-8, device=patches_Bnn.device)))
    weight = weight_nn[:-1, :-1]
    return (weight * length).sum(dim=(-2, -1)) / weight.sum().clamp_min(_TINY)


def amplitude_deviation(patches_Bnn: Complex[Tensor, "B n n"], weight_nn: Float[Tensor, "n n"]) -> Float[Tensor, " B"]:
    """Squared distance of each patch's amplitude from 1, the weighted mean over its pixels."""
    amplitude = torch.sqrt(squared_magnitude(patches_Bnn) + _TINY)
    return (weight_nn * (amplitude - 1).square()).sum(dim=(-2, -1)) / weight_nn.sum().clamp_min(_TINY)


def squared_magnitude(values: Tensor) -> Tensor:
    """Squared magnitude of complex numbers; its slope is finite everywhere."""
    return values.real.square() + values.imag.square()
