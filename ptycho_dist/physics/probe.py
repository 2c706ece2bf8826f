"""Probe modes: scale, weight on the object, position of their energy."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from ptycho_dist.errors import PhysicsError

_TINY = 1e-12


def probe_intensity(probe_PNN: Complex[Tensor, "P N N"]) -> Float[Tensor, "N N"]:
    """Intensity of the probe on the object, summed over its modes."""
    return summed_intensity(probe_PNN)


def summed_intensity(waves_PBNN: Complex[Tensor, "P *B N N"]) -> Float[Tensor, "*B N N"]:
    """Squared magnitude of waves, summed over their first axis, such as incoherent modes.

    By the product with the conjugate: on a CPU the squares of real and imaginary parts, which do not lie side by side
    in memory, take three times as long.
    """
    product = (waves_PBNN * waves_PBNN.conj()).real
    return product[0] if len(product) == 1 else product.sum(dim=0)


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


def orthogonalise(probe_PNN: Complex[Tensor, "P N N"]) -> Complex[Tensor, "P N N"]:
    """Orthogonal modes of the same mutual intensity, strongest first; modes that are so already stay as they are.

    The singular value decomposition of the matrix of modes (Thibault and Menzel,
    Nature 494, 68 (2013), DOI 10.1038/nature11806, and its supplement). The phase of a mode, which is undetermined,
    is that of the mode in its place before.
    """
    if len(probe_PNN) == 1:
        return probe_PNN
    flat = probe_PNN.reshape(len(probe_PNN), -1)
    gram = (flat @ flat.conj().T).to(torch.complex128)
    _, vectors = torch.linalg.eigh(gram)
    rotation = vectors.flip(dims=(1,)).conj().T
    own = rotation.diagonal()
    turn = torch.where(own.abs() > _TINY, own.conj() / own.abs().clamp_min(_TINY), torch.ones_like(own))
    modes: Tensor = ((turn[:, None] * rotation).to(flat.dtype) @ flat).reshape(probe_PNN.shape)
    return modes.contiguous()


def mode_powers(probe_PNN: Complex[Tensor, "P N N"]) -> list[float]:
    """Power fraction of each mode."""
    energy = torch.stack([probe_intensity(mode[None]).double().sum() for mode in probe_PNN])
    return [float(share) for share in energy / energy.sum()]


def disc(n: int, diameter_px: float) -> Bool[Tensor, "N N"]:
    """Pixels of an n by n frame whose centre lies in a disc around the middle of the frame (pixel n // 2)."""
    axis = torch.arange(n) - n // 2
    inside: Tensor = axis[:, None].square() + axis.square() <= (diameter_px / 2) ** 2
    return inside


def _ramped(mode_NN: Tensor, axis: Tensor, order: tuple[int, int]) -> Tensor:
    ramped = mode_NN * (axis[:, None] ** order[0] * axis[None, :] ** order[1])
    energy = mode_NN.abs().square().sum() / ramped.abs().square().sum()
    return ramped * (0.02 * energy).sqrt()
