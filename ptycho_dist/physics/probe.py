"""Probe modes: scale, weight on the object, position of their energy."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ptycho_dist.errors import PhysicsError


def probe_intensity(probe_PNN: Complex[Tensor, "P N N"]) -> Float[Tensor, "N N"]:
    """Intensity of the probe on the object, summed over its modes."""
    return (probe_PNN.real.square() + probe_PNN.imag.square()).sum(dim=0)


def intensity_scale(probe_PNN: Complex[Tensor, "P N N"], mean_counts: float) -> float:
    """Factor that makes the probe's energy equal the mean photon count of a pattern.

    The modelled intensity is ``scale**2`` times the squared far field, so an
    empty object scatters ``mean_counts`` photons (Parseval).

    Raises
    ------
    PhysicsError
        If the probe has no energy.
    """
    energy = float(probe_intensity(probe_PNN).double().sum())
    if not energy > 0:
        msg = f"the probe's energy is {energy}; expected a probe that is not zero everywhere. Check the scan's probe."
        raise PhysicsError(msg)
    return float((mean_counts / energy) ** 0.5)


def select_modes(probe_PNN: Complex[Tensor, "P N N"], n_modes: int) -> Complex[Tensor, "Q N N"]:
    """First ``n_modes`` modes; missing ones are made from the first by Hermite-like ramps.

    An added mode is the first one times a linear ramp (then a product of ramps),
    with 2 % of its energy, a usual start for higher modes (Odstrcil et al., Opt.
    Express 24, 8360 (2016), DOI 10.1364/OE.24.008360).
    """
    have = probe_PNN.shape[0]
    if have >= n_modes:
        return probe_PNN[:n_modes]
    n = probe_PNN.shape[-1]
    axis = torch.linspace(-1, 1, n, device=probe_PNN.device, dtype=probe_PNN.real.dtype)
    orders = [(i, total - i) for total in range(1, n_modes + 1) for i in range(total + 1)]
    added = [_ramped(probe_PNN[0], axis, order) for order in orders[: n_modes - have]]
    return torch.cat([probe_PNN, torch.stack(added)])


def _ramped(mode_NN: Tensor, axis: Tensor, order: tuple[int, int]) -> Tensor:
    ramped = mode_NN * (axis[:, None] ** order[0] * axis[None, :] ** order[1])
    energy = mode_NN.abs().square().sum() / ramped.abs().square().sum()
    return ramped * (0.02 * energy).sqrt()
