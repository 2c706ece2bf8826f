r"""How tiles agree on the object where they overlap.

Between two joins a tile changes its own copy of the object by :math:`\Delta_k`. In the light of its patterns the steps
of a stretch add up to a share :math:`1 - e^{-s_k}` of the way to what its patterns want, where :math:`s_k` is the light
they shine on a pixel, in units of a full step; so they want a change of :math:`\Delta_k / (1 - e^{-s_k})`. The joined
change is the mean of what the tiles want, weighted by their light, as far as all their steps in turn would have gone:

.. math:: \Delta = \frac{1 - e^{-S}}{S} \sum_k \frac{s_k}{1 - e^{-s_k}} \Delta_k, \qquad S = \sum_k s_k.

In the dark that is the sum of the changes, in full light their mean weighted by light, and the change itself where a
tile is alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor

from ptycho_dist.config.refine import RefineConfig
from ptycho_dist.physics.probe import probe_intensity
from ptycho_dist.refine.tiles.cutting import Rectangle

_TINY, _SATURATED = 1e-12, 1e6


def weight(own: Tensor, everyone: Tensor) -> Tensor:
    """Factor (H, W) on a tile's change, from its own light and that of all tiles, in units of a full step."""
    return _gain(own) / _gain(everyone)


def _gain(light: Tensor) -> Tensor:
    """Calculate s / (1 - exp(-s)): 1 in the dark, and s in full light."""
    light = light.clamp_min(_TINY)
    gain: Tensor = light / -torch.expm1(-light)
    return gain


def total(number: int, rectangle: Rectangle, own: Tensor, others: Mapping[int, tuple[Rectangle, Tensor]]) -> Tensor:
    """Add up what tiles say of a tile's rectangle, in the order of their numbers: the same bits wherever it is done.

    Parameters
    ----------
    number, rectangle, own
        The tile, where it is, and what it says of all of it.
    others
        What other tiles say of the part that they share with it, by number.
    """
    found = torch.zeros_like(own)
    for one in sorted({number, *others}):
        if one == number:
            found += own
        else:
            part, said = others[one]
            found[part.inside(rectangle)] += said
    return found


def step_of_light(config: RefineConfig, probe_PNN: Tensor) -> Tensor:
    """Full steps, shape (), that a count of light makes: the brightest pixel of the probe makes one.

    Steps of Adam have the same length in any light; its changes are averaged.
    """
    if config.method == "gradient":
        return probe_PNN.real.new_tensor(_SATURATED) / probe_intensity(probe_PNN).max()
    return float(config.object_step or 0) / probe_intensity(probe_PNN).max()


def extrapolated(before: Tensor, of_tiles: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    r"""Join what all tiles have made of the same unknown, each with its share :math:`a_k` of the patterns.

    The mean of their changes is too short where they ask for different ones. It is multiplied by the root of what
    extrapolates it, :math:`\sum_k a_k |\Delta_k|^2 / |\sum_k a_k \Delta_k|^2` (Combettes, IEEE Trans. Image Process. 6,
    493 (1997), DOI 10.1109/83.563316): the whole extrapolation would bring the noise of each tile into what all share.
    """
    changes = [one - before for one in of_tiles]
    mean = in_order([one * share for one, share in zip(changes, shares, strict=True)])
    squared = in_order([_square(one) * share for one, share in zip(changes, shares, strict=True)])
    return before + mean * (squared / _square(mean).clamp_min(_TINY)).clamp(1.0, float(len(changes))).sqrt()


def _square(values: Tensor) -> Tensor:
    flat = values.reshape(-1)
    return torch.vdot(flat, flat).real


def in_order(of_tiles: Sequence[Tensor]) -> Tensor:
    """Sum over all tiles, in their order."""
    return reduce(torch.add, of_tiles)
