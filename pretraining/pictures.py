"""Random pictures of several kinds, from 0 to 1: what objects are made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial import cKDTree

Picture = NDArray[np.float64]
_LEAST_RADIUS_PX, _MIXED, _BLURRED = (2.0, 8.0), 0.4, 0.3


def stretched(picture: Picture) -> Picture:
    """Bring a picture to the range from 0 to 1."""
    span = np.ptp(picture)
    return np.asarray((picture - picture.min()) / span if span > 0 else np.zeros_like(picture))


def clouds(side: int, rng: Generator) -> Picture:
    """Noise whose power falls with frequency; some of it with edges."""
    axis = np.fft.fftfreq(side)
    frequency = np.hypot(axis[:, None], axis)
    frequency[0, 0] = 1 / side
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((side, side))) * frequency ** -rng.uniform(1.0, 2.2)).real
    noise = (noise - noise.mean()) / noise.std()
    is_soft = rng.random() < 0.6
    return stretched(np.clip(noise, -2.5, 2.5) if is_soft else np.tanh(rng.uniform(1, 8) * noise))


def leaves(side: int, rng: Generator) -> Picture:
    """Ellipses, boxes, rings and triangles that cover each other, small ones more often (dead leaves).

    Lee, Mumford, Huang, Int. J. Comput. Vision 41, 35 (2001), DOI 10.1023/A:1011109015675.
    """
    picture = np.full((side, side), rng.random())
    count, least, most = int(rng.integers(60, 500)), rng.uniform(*_LEAST_RADIUS_PX), side / 3
    radii = least / np.sqrt(1 - rng.random(count) * (1 - (least / most) ** 2))
    for radius in radii:
        _cover(picture, min(radius, most), rng)
    return stretched(picture)


def _cover(picture: Picture, radius: float, rng: Generator) -> None:
    side = len(picture)
    centre = rng.uniform(0, side, 2)
    low, high = (np.clip(np.rint(centre + sign * (radius + 2)), 0, side).astype(int) for sign in (-1, 1))
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    y, x = np.mgrid[window].astype(np.float64) - centre[:, None, None]
    turn = rng.uniform(0, np.pi)
    u, v = np.cos(turn) * y + np.sin(turn) * x, np.cos(turn) * x - np.sin(turn) * y
    edge = _SHAPES[rng.integers(len(_SHAPES))](u, v / rng.uniform(0.3, 1.0), radius)
    share = np.clip(0.5 - edge, 0, 1) * (1.0 if rng.random() < 0.8 else rng.random())
    value = np.full_like(u, rng.random())
    if rng.random() < 0.25:
        value += (
            (rng.random() - 0.5) * 0.3 * np.sin(2 * np.pi * (u * rng.uniform(0.02, 0.25) + v * rng.uniform(0, 0.1)))
        )
    picture[window] = picture[window] * (1 - share) + share * value


_SHAPES: tuple[Callable[[Picture, Picture, float], Picture], ...] = (
    lambda u, v, r: np.asarray(np.hypot(u, v) - r),
    lambda u, v, r: np.asarray(np.maximum(np.abs(u), np.abs(v)) - 0.7 * r),
    lambda u, v, r: np.asarray(np.abs(np.hypot(u, v) - 0.8 * r) - 0.15 * r),
    lambda u, v, r: np.maximum(np.maximum(-u - 0.4 * r, 0.5 * u + 0.87 * v - 0.4 * r), 0.5 * u - 0.87 * v - 0.4 * r),
)
"""Signed distances in pixels, negative inside: ellipse, box, ring, triangle."""


def strokes(side: int, rng: Generator) -> Picture:
    """Winding lines of several widths, bright on dark or dark on bright."""
    picture = np.zeros((side, side))
    for _ in range(int(rng.integers(10, 80))):
        steps = int(rng.integers(30, 200))
        angle = np.cumsum(rng.standard_normal(steps) * 0.15) + rng.uniform(0, 2 * np.pi)
        path = rng.uniform(0, side, 2) + np.cumsum(np.stack([np.sin(angle), np.cos(angle)], axis=1), axis=0)
        pixels = np.rint(path).astype(int)
        pixels = pixels[((pixels >= 0) & (pixels < side)).all(axis=1)]
        width, value = rng.uniform(0.7, 4.0), rng.uniform(0.3, 1.0)
        if len(pixels):
            beside = np.ones((side, side), dtype=np.bool_)
            beside[tuple(pixels.T)] = False
            picture = np.maximum(picture, value * np.clip(width + 0.5 - distance_transform_edt(beside), 0, 1))
    return stretched(picture) if rng.random() < 0.5 else 1 - stretched(picture)


def cells(side: int, rng: Generator) -> Picture:
    """Cells around random points, with walls, bent a little."""
    points = rng.uniform(-10, side + 10, (int(rng.integers(20, 300)), 2))
    bend = gaussian_filter(rng.standard_normal((side, side, 2)), (6, 6, 0)) * rng.uniform(0, 60)
    distance, nearest = cKDTree(points).query((np.moveaxis(np.mgrid[:side, :side], 0, -1) + bend).reshape(-1, 2), 2)
    values = rng.random(len(points))[nearest[:, 0]].reshape(side, side)
    walls = np.clip((distance[:, 1] - distance[:, 0]).reshape(side, side) / rng.uniform(1.5, 8.0), 0, 1)
    kinds = (values, walls, values * walls)
    return stretched(gaussian_filter(kinds[rng.integers(len(kinds))], rng.uniform(0.3, 1.0)))


KINDS = (clouds, leaves, leaves, strokes, cells)


def picture(side: int, rng: Generator) -> Picture:
    """One random picture; some are the sum of two, some are blurred."""
    found = KINDS[rng.integers(len(KINDS))](side, rng)
    if rng.random() < _MIXED:
        found = stretched(found + rng.uniform(0.1, 0.8) * KINDS[rng.integers(len(KINDS))](side, rng))
    if rng.random() < _BLURRED:
        found = stretched(gaussian_filter(found, rng.uniform(0.5, 3.0)))
    return found
