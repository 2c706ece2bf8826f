"""Starting modes that can separate."""

from __future__ import annotations

import logging

import torch
from jaxtyping import Complex
from torch import Tensor

from ptycho_dist.physics.probe import orthogonalise, probe_intensity, select_modes

logger = logging.getLogger(__name__)

_DEPENDENT = 1e-8
"""Share of the strongest mode's power below which a mode is one that others hold already."""


def separable(probe_PNN: Complex[Tensor, "P N N"]) -> Complex[Tensor, "P N N"]:
    """Modes that can separate: those that others hold already are replaced as :func:`select_modes` adds some.

    Equal modes explain a pattern equally well, are changed alike, and so stay equal for ever; a mode of zeros stays
    one. Independent modes are returned as they are; else the power of all modes together stays. Nothing
    is drawn at random.
    """
    flat = probe_PNN.reshape(len(probe_PNN), -1)
    gram = (flat @ flat.conj().T).to(torch.complex128)
    powers = torch.linalg.eigvalsh(gram).flip(0)
    rank = int((powers > _DEPENDENT * powers[0]).sum())
    if rank in (0, len(probe_PNN)):
        return probe_PNN
    logger.info("of the %d probe modes of the start %d are independent; the others are made anew", len(probe_PNN), rank)
    modes = select_modes(orthogonalise(probe_PNN)[:rank], len(probe_PNN))
    kept = gram.diagonal().real.sum() / probe_intensity(modes).double().sum()
    return modes * kept.sqrt().to(modes)
