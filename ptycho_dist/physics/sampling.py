"""How a scan samples its object: width of the probe, steps, overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ptycho_dist.types import FloatArray

_HELD = 0.9


@dataclass(frozen=True)
class Sampling:
    """How a scan samples its object.

    Parameters
    ----------
    probe_diameter_px
        Diameter of the disc that is as large as the probe.
    step_px
        Median distance of a scan point from its nearest neighbour; NaN of a single point.
    overlap
        Linear overlap of neighbouring probes, 1 - step / diameter, from 0 to 1; NaN of a single point.
    probe_at_border, probe_bandwidth
        Share of the probe's power in the outer eighth of its frame on each side; and the same of its far field.
    """

    probe_diameter_px: float
    step_px: float
    overlap: float
    probe_at_border: float
    probe_bandwidth: float


def probe_diameter(probe_PNN: NDArray[np.complexfloating]) -> float:
    """Diameter in pixels of the disc that is as large as the brightest pixels of a probe with 90 % of its power.

    Of a Gaussian beam 4.3 standard deviations of its intensity; of a uniform disc 95 % of its diameter.
    """
    intensity = _power(probe_PNN).ravel()
    power = np.cumsum(np.sort(intensity)[::-1])
    area = int(np.searchsorted(power, _HELD * power[-1])) + 1
    return 2 * math.sqrt(area / math.pi)


def participation(total: float, squares: float) -> float:
    """Count the pixels that share light evenly, by its sum and the sum of its square: total^2 / squares; 0 of none."""
    return total**2 / squares if squares > 0 else 0.0


def nearest_distances(positions_px: FloatArray) -> FloatArray:
    """Distance of each scan point (B, 2) from its nearest neighbour, in pixels; points that coincide count once."""
    points = np.unique(np.round(positions_px, 3), axis=0)
    if len(points) < 2:
        return np.empty(0)
    return np.asarray(cKDTree(points).query(points, k=2)[0][:, 1], np.float64)


def sampling_of(positions_px: FloatArray, probe_PNN: NDArray[np.complexfloating]) -> Sampling:
    """Measure how a scan samples its object.

    Parameters
    ----------
    positions_px
        float64, shape (B, 2).
    probe_PNN
        Modes, complex, shape (P, N, N), centred in their frame.
    """
    diameter, distances = probe_diameter(probe_PNN), nearest_distances(positions_px)
    step = float(np.median(distances)) if distances.size else float("nan")
    far = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(probe_PNN, axes=(-2, -1))), axes=(-2, -1))
    return Sampling(
        probe_diameter_px=diameter,
        step_px=step,
        overlap=min(1.0, max(0.0, 1 - step / diameter)) if distances.size else float("nan"),
        probe_at_border=border_share(_power(probe_PNN)),
        probe_bandwidth=border_share(_power(far)),
    )


def border_share(power_NN: FloatArray) -> float:
    """Share of a power (N, N) that lies in the outer eighth of its frame on each side; 0 where there is none."""
    edge = max(1, len(power_NN) // 8)
    total = float(power_NN.sum())
    return 1 - float(power_NN[edge:-edge, edge:-edge].sum()) / total if total > 0 else 0.0


def _power(waves_PNN: NDArray[np.complexfloating]) -> FloatArray:
    """Sum the power of waves over their modes, float64, shape (N, N)."""
    return np.asarray((np.abs(waves_PNN).astype(np.float64) ** 2).sum(axis=0))
