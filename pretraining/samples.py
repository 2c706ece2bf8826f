"""Groups of simulated patterns: random objects, probes, steps, doses and faults; no two groups are the same."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from pretraining.pictures import Picture, picture
from pretraining.probes import aberrated, diameter_px, probe
from ptycho_dist.physics.intensity import ForwardModel
from ptycho_dist.physics.patches import extract
from ptycho_dist.physics.propagators import FarField
from ptycho_dist.simulate.probes import incoherent_modes
from ptycho_dist.types import FloatArray

_PICTURE_PX = 384
_PROBES_EACH = {64: 240, 128: 80, 256: 12}
"""Probes that are drawn once for each side of a frame."""
_SIDES = ((64, 0.82), (128, 0.17), (256, 0.01))
"""Side of a frame, and how often."""
_STEPS, _LEAST_STEP = (0.03, 0.6), 0.2
"""Steps as shares of the probe's diameter; groups of a denser scan are thinned to the least."""
_PHOTONS, _PHASES_RAD, _ABSORPTIONS = (1e2, 1e7), (0.2, 3.0), (0.03, 0.7)
_WRONG_PROBE, _MASKED, _MODES, _ONE_PICTURE = 0.3, 0.15, 0.2, 0.35
_MARGIN_PX = 2


@dataclass(frozen=True)
class Group:
    """Patterns of one simulated neighbourhood, and the truth.

    Parameters
    ----------
    counts_BNN
        Photons, float32, DC at the array's centre.
    corners_px
        float64, shape (B, 2), on the canvas.
    probe_PNN
        The probe that a network is given, complex64; not always quite the right one.
    truth_HW
        Object, complex64.
    mask_NN
        Valid pixels, bool; None where all are.
    """

    counts_BNN: Tensor
    corners_px: Tensor
    probe_PNN: Tensor
    truth_HW: Tensor
    mask_NN: Tensor | None


class Samples:
    """Draws groups.

    Parameters
    ----------
    seed
        Everything depends on it alone.
    n_pictures
        Pictures that are made beforehand; objects are turned, mirrored and cut parts of two.
    """

    def __init__(self, seed: int, n_pictures: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._pictures = [picture(_PICTURE_PX, self._rng).astype(np.float32) for _ in range(n_pictures)]
        self._probes = {N: [probe(N, self._rng) for _ in range(count)] for N, count in _PROBES_EACH.items()}

    def draw(self, size: int) -> Group:
        """Draw a group of ``size`` patterns."""
        rng = self._rng
        sides, shares = zip(*_SIDES, strict=True)
        N = int(rng.choice(sides, p=shares))
        wave = self._probes[N][rng.integers(len(self._probes[N]))]
        photons, n_modes = _between(_PHOTONS, rng), 1 + (rng.random() < _MODES)
        modes = incoherent_modes(wave, n_modes) * math.sqrt(photons)
        corners = _corners(size, max(_between(_STEPS, rng), _LEAST_STEP) * diameter_px(wave), rng)
        truth = self._object(tuple(np.ceil(corners.max(axis=0)).astype(int) + N + _MARGIN_PX))
        mask = _mask(N, rng) if rng.random() < _MASKED else None
        counts = _counts(truth, corners, modes, rng)
        if rng.random() < _WRONG_PROBE:
            seed, strength = int(rng.integers(2**31)), rng.uniform(0.05, 0.4)
            modes = np.stack([aberrated(mode, strength, np.random.default_rng(seed)) for mode in modes])
        return Group(
            counts if mask is None else torch.where(mask, counts, torch.zeros_like(counts)),
            torch.from_numpy(corners),
            torch.from_numpy(modes.astype(np.complex64)),
            torch.from_numpy(truth),
            mask,
        )

    def _object(self, shape: tuple[int, ...]) -> NDArray[np.complex64]:
        rng = self._rng
        first, second = self._part(shape), self._part(shape)
        second = first if rng.random() < _ONE_PICTURE else second
        amplitude = 1 - _between(_ABSORPTIONS, rng) * first
        return np.asarray(amplitude * np.exp(1j * _between(_PHASES_RAD, rng) * second), np.complex64)

    def _part(self, shape: tuple[int, ...]) -> Picture:
        rng = self._rng
        whole = np.rot90(self._pictures[rng.integers(len(self._pictures))], int(rng.integers(4)))
        repeats = [-(-wanted // have) for wanted, have in zip(shape, whole.shape, strict=True)]
        whole = np.tile(whole if rng.random() < 0.5 else 1 - whole, repeats)
        top, left = (int(rng.integers(have - wanted + 1)) for have, wanted in zip(whole.shape, shape, strict=True))
        return np.asarray(whole[top : top + shape[0], left : left + shape[1]], np.float64)


def _between(limits: tuple[float, float], rng: Generator) -> float:
    """Draw evenly in the logarithm."""
    return math.exp(rng.uniform(math.log(limits[0]), math.log(limits[1])))


def _corners(size: int, step_px: float, rng: Generator) -> FloatArray:
    """Corners on a square raster with large jitter, at least 1 px from the edge of the canvas."""
    columns = math.ceil(math.sqrt(size))
    raster = np.stack([np.arange(size) // columns, np.arange(size) % columns], axis=1)
    corners = (raster + rng.uniform(-0.3, 0.3, (size, 2))) * step_px
    return np.asarray(corners - np.floor(corners.min(axis=0)) + 1)


def _mask(N: int, rng: Generator) -> Tensor:
    """Leave out a beam stop, or some dead rows."""
    mask = torch.ones(N, N, dtype=torch.bool)
    y, x = np.mgrid[:N, :N] - N // 2
    if rng.random() < 0.5:
        mask &= torch.from_numpy(np.hypot(y, x) > rng.uniform(0, 0.06) * N)
    else:
        mask[int(rng.integers(N)) :][: int(rng.integers(1, 4))] = False
    return mask


def _counts(
    truth_HW: NDArray[np.complex64], corners: FloatArray, modes: NDArray[np.complex128], rng: Generator
) -> Tensor:
    model = ForwardModel(torch.from_numpy(modes.astype(np.complex64)), FarField())
    objects = extract(torch.from_numpy(truth_HW), torch.from_numpy(corners), modes.shape[-1])
    intensity = model.propagator.rearrange(model.counts(objects)).double().numpy()
    return torch.from_numpy(rng.poisson(intensity).astype(np.float32))
