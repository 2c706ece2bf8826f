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
_IN_A_ROW = 4


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


def draw_phases(path: Path, title: str, objects: Mapping[str, NDArray[np.complex64]]) -> None:
    """Draw the phases of objects (H, W) by name, ramps removed, four in a row.

    Parameters
    ----------
    path
        File to write; it appears under its name only when it is complete.
    title, objects
        Headline, and what is drawn.
    """
    pictures = [_middle(name, wave) for name, wave in objects.items()]
    figure = picture_grid(title, [pictures[start : start + _IN_A_ROW] for start in range(0, len(pictures), _IN_A_ROW)])
    with atomic_path(path) as temporary:
        temporary.write_bytes(png(figure))


def _middle(name: str, wave: NDArray[np.complex64]) -> Picture:
    """Phase of the middle half of an object, where most patterns are."""
    inside = tuple(slice(side // 4, side - side // 4) for side in wave.shape)
    middle = wave[inside]
    shown = np.ones(middle.shape, np.bool_)
    phase = np.angle(figure_data.flattened(middle, shown))
    return Picture(name, phase, "viridis", figure_data.limits(phase, shown), "rad", None, _NAN)


def _amplitude(name: str, wave: NDArray[np.complex64]) -> Picture:
    values = np.abs(wave).astype(np.float64)
    shown = np.ones(wave.shape, np.bool_)
    return Picture(f"{name}, amplitude", values, "gray", figure_data.limits(values, shown), "amplitude", None, _NAN)


def _phase(name: str, wave: NDArray[np.complex64]) -> Picture:
    values = np.angle(wave * np.conj(wave.sum())).astype(np.float64)
    shown = np.ones(wave.shape, np.bool_)
    return Picture(f"{name}, phase", values, "viridis", figure_data.limits(values, shown), "rad", None, _NAN)
