"""Pictures of a prediction in the middle of a training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.atomic import atomic_path
from ptycho_dist.evaluate import figure_data
from ptycho_dist.evaluate.figures import Picture, picture_grid, pixels_of, png

_NAN = float("nan")


def draw_preview(
    path: Path, title: str, patches: Mapping[int, NDArray[np.complex64]], object_: NDArray[np.complex64] | None
) -> NDArray[np.uint8]:
    """Draw amplitude and phase of patches, and of a stitched object, as a PNG.

    Parameters
    ----------
    path
        File to write; it appears under its name only when it is complete.
    title
        Headline.
    patches
        Complex (n, n) by pattern number.
    object_
        Complex (H, W), or None.

    Returns
    -------
    ndarray, uint8, shape (rows, columns, 3)
        The same picture.
    """
    waves = {f"pattern {number}": patch for number, patch in patches.items()}
    if object_ is not None:
        waves = {"stitched": object_} | waves
    figure = picture_grid(title, [[row(name, wave) for name, wave in waves.items()] for row in (_amplitude, _phase)])
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(png(figure))
    return pixels_of(figure)


def _amplitude(name: str, wave: NDArray[np.complex64]) -> Picture:
    values = np.abs(wave).astype(np.float64)
    shown = np.ones(wave.shape, np.bool_)
    return Picture(f"{name}, amplitude", values, "gray", figure_data.limits(values, shown), "amplitude", None, _NAN)


def _phase(name: str, wave: NDArray[np.complex64]) -> Picture:
    values = np.angle(wave * np.conj(wave.sum())).astype(np.float64)
    shown = np.ones(wave.shape, np.bool_)
    return Picture(f"{name}, phase", values, "viridis", figure_data.limits(values, shown), "rad", None, _NAN)
