"""Noise taken out of an object: the fine detail of its wavelets is made smaller by a threshold."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

LEVELS = 3
"""Scales of detail that are made smaller: 1, 2 and 4 pixels."""
_TINY = 1e-12


def shrink(image_HW: Complex[Tensor, "H W"], threshold_HW: Float[Tensor, "H W"]) -> Complex[Tensor, "H W"]:
    r"""Shrink the detail of an image in the undecimated Haar wavelets.

    The details d of a scale (down, across and diagonal, complex) become :math:`d \max(0, 1 - t / |d|)`, with
    :math:`|d|` over the three together; t is the threshold at scale 1 and half of that of the scale before at each
    further one, as white noise falls. What is coarser than 4 pixels stays, so there is no drift over long distances,
    which total variation brings where patterns overlap little. Wavelets of all positions are averaged (Coifman and
    Donoho, Translation-invariant de-noising (1995), DOI 10.1007/978-1-4612-2544-7_9), which leaves no blocks. The image
    continues at its opposite edge.

    Parameters
    ----------
    image_HW : Tensor, complex, shape (H, W)
        Any image.
    threshold_HW : Tensor, float, shape (H, W)
        Threshold at scale 1, at least 0; 0 leaves the detail as it is.
    """
    coarse, details = image_HW, []
    for level in range(LEVELS):
        coarse, detail = _split(coarse, 2**level)
        details.append(_shrunk(detail, threshold_HW * 0.5**level))
    for level in reversed(range(LEVELS)):
        coarse = _join(coarse, details[level], 2**level)
    return coarse


def _split(image: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Mean of each pixel and three neighbours at a distance, and their three differences, stacked."""
    right = image.roll(-step, 1)
    plus, minus = image + right, image - right
    below_plus, below_minus = plus.roll(-step, 0), minus.roll(-step, 0)
    details = torch.stack([plus - below_plus, minus + below_minus, minus - below_minus])
    return (plus + below_plus) / 4, details / 4


def _join(coarse: Tensor, details: Tensor, step: int) -> Tensor:
    """Undo :func:`_split`, averaged over the four places that a pixel has in it."""
    down, across, both = details
    upper, lower = coarse + down, coarse - down
    columns = (upper + across + both) + (upper - across - both).roll(step, 1)
    below = (lower + across - both) + (lower - across + both).roll(step, 1)
    joined: Tensor = (columns + below.roll(step, 0)) / 4
    return joined


def _shrunk(details: Tensor, threshold: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(details, dim=0).clamp_min(_TINY)
    shrunk: Tensor = details * (1 - threshold / length).clamp_min(0.0)
    return shrunk
