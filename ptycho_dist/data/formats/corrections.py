"""Dark, flat and monitor of a measurement: from values to what is done to each frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.data.formats.array_file import file_of, load_values, name_of
from ptycho_dist.data.formats.base import PatternSource
from ptycho_dist.data.formats.chosen_frames import Chosen
from ptycho_dist.data.formats.measurement import Measurement
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray, IntArray


def mean_image(values: NDArray[Any], shape: tuple[int, ...], where: str, advice: str) -> FloatArray:
    """Return a dark or a flat (H, W); of several frames their mean.

    Parameters
    ----------
    values
        Numbers, shape (..., H, W).
    shape
        (H, W) of the frames.
    where, advice
        What has the values, and what to do instead, for the message.

    Raises
    ------
    DataFormatError
        If they are no finite numbers of that shape.
    """
    is_number = values.dtype.kind in "biuf" and values.ndim >= 2 and values.size > 0
    mean = values.reshape((-1, *values.shape[-2:])).mean(axis=0, dtype=np.float64) if is_number else values
    if not is_number or mean.shape != shape or not np.isfinite(mean).all():
        msg = f"{where} is {values.dtype} of shape {values.shape}; expected finite numbers of the frames' shape {shape}"
        raise DataFormatError(f"{msg}, or several of them. {advice}")
    return np.asarray(mean, np.float64)


def monitor_scale(values: NDArray[Any], n_frames: int, rows: IntArray | None, where: str, advice: str) -> FloatArray:
    """Return the factor of each frame by a monitor: its mean over its value.

    Parameters
    ----------
    values
        One for each frame of the file.
    n_frames
        Frames of the file.
    rows
        Numbers of the frames that are used; None where all are.
    where, advice
        What has the values, and what to do instead, for the message.

    Raises
    ------
    DataFormatError
        If there are more or fewer, or one is not above 0.
    """
    flat = values.ravel()
    is_number = flat.dtype.kind in "biuf" and flat.size > 0
    if not is_number or len(flat) != n_frames or not (np.isfinite(flat).all() and (flat > 0).all()):
        lowest = f" from {flat.min():.4g}" if is_number else f" of {flat.dtype}"
        msg = f"{where} has {flat.size} values{lowest}; expected {n_frames} above 0, one for each frame. {advice}"
        raise DataFormatError(msg)
    kept = flat.astype(np.float64) if rows is None else flat[rows].astype(np.float64)
    return np.asarray(kept.mean() / kept)


def with_given_corrections(measurement: Measurement, options: ScanOptions) -> Measurement:
    """Take the dark, the flat and the monitor that the user gives, in place of those of the file.

    Raises
    ------
    DataFormatError
        If one does not fit the frames.
    """
    correction, said, files = measurement.correction, list(measurement.conversions), list(measurement.companions)
    frames = measurement.frames
    for name in ("dark", "flat", "monitor"):
        given = getattr(options, name)
        if given is None:
            continue
        path = Path(given)
        where, advice = f"{name} {given}", f"Check --{name}."
        values = load_values(path, name)
        if name == "monitor":
            made = monitor_scale(values, *_frames_of(frames, values.size), where, advice)
        else:
            made = mean_image(values, frames.shape[1:], where, advice)
        field = "scale" if name == "monitor" else name
        instead = " in place of the file's" if getattr(correction, field) is not None else ""
        correction = replace(correction, **{field: made})
        said.append(f"{name}: {name_of(path)}{_in_words(name, values)}{instead}")
        files.append(file_of(path))
    return replace(measurement, correction=correction, conversions=tuple(said), companions=tuple(files))


def _frames_of(frames: PatternSource, n_values: int) -> tuple[int, IntArray | None]:
    """How many frames a monitor has values for, and which of them are used: all of the file, or those that are left."""
    if isinstance(frames, Chosen) and n_values != len(frames.rows):
        return frames.n_all, frames.rows
    return frames.shape[0], None


def _in_words(name: str, values: NDArray[Any]) -> str:
    """Say what was read, with its numbers."""
    many = f", mean of {values.size // (values.shape[-1] * values.shape[-2])} frames" if values.ndim > 2 else ""
    if name == "flat":
        return f"{many}, {int((~(values > 0)).sum())} values that are not above 0"
    return f"{many}, values from {values.min():.4g} to {values.max():.4g}, mean {values.mean():.4g}"
