"""What is predicted: all patterns and the whole object, or a window of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptycho_dist.errors import ConfigError
from ptycho_dist.factory.payload import InferencePayload
from ptycho_dist.types import Canvas, FloatArray, IntArray


@dataclass(frozen=True)
class Region:
    """Patterns to predict, and where their object lies.

    Parameters
    ----------
    rows
        int64, shape (n,): numbers of the patterns, ascending.
    canvas
        Origin and shape of the object.
    """

    rows: IntArray
    canvas: Canvas


def region_of(payload: InferencePayload, positions_px: FloatArray, margin_px: int = 0) -> Region:
    """Select the patterns whose patches touch ``inference.region``; all without one.

    Parameters
    ----------
    payload
        Settings.
    positions_px
        Corners (B, 2) of the frames of all patterns.
    margin_px
        Width of a seam around the region that belongs to it, too.

    Raises
    ------
    ConfigError
        If no patch touches the region.
    """
    N, region = payload.data_config.N, payload.inference_config.region
    if region is None:
        return Region(np.arange(len(positions_px)), Canvas.around(positions_px, N))
    low, high = np.array(region[:2]) - margin_px, np.array(region[2:]) + margin_px
    side = patch_side(payload)
    first = np.floor(positions_px + (N - side) / 2)
    touching = ((first < high) & (first + side + 1 > low)).all(axis=1)
    height, width = high - low
    if not touching.any():
        (y0, x0), (y1, x1) = first.min(axis=0).astype(int), first.max(axis=0).astype(int) + side + 1
        msg = (
            f"inference.region = {region} touches no patch of the scan, whose patches lie within "
            f"{(int(y0), int(x0), int(y1), int(x1))}; expected (top, left, bottom, right) in pixels of the frame of "
            "the positions. Change inference.region."
        )
        raise ConfigError(msg)
    return Region(np.flatnonzero(touching), Canvas((int(low[0]), int(low[1])), (int(height), int(width))))


def patch_side(payload: InferencePayload) -> int:
    """Side of a trimmed patch in pixels."""
    output_px = payload.model_config.output_px or payload.data_config.N
    return output_px - 2 * payload.execution_config.middle_trim
