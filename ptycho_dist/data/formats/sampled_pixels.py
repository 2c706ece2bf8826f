"""A look at a sample of frames: pixels that do not count, the beam centre, the square of pixels that is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.data.formats.base import BoolArray
from ptycho_dist.data.formats.dead_pixels import FrameSample, centre_of_mass, hot_pixels
from ptycho_dist.data.formats.frame_work import Window
from ptycho_dist.data.formats.intensity import sample_index
from ptycho_dist.data.formats.measurement import Measurement
from ptycho_dist.errors import DataFormatError


@dataclass(frozen=True)
class Pixels:
    """Which pixels count, where the zero frequency is, and what was said of both.

    Parameters
    ----------
    valid
        bool (H, W), zero frequency in the middle.
    centre
        (y, x) of the zero frequency.
    said
        In words.
    found
        Pixels that the file has as valid, and that are left out, by what they are; in the order of the file.
    """

    valid: BoolArray
    centre: tuple[float, float]
    said: tuple[str, ...]
    found: tuple[tuple[str, BoolArray], ...] = ()


def look(path: Path, measurement: Measurement, options: ScanOptions) -> Pixels:
    """Look at a sample of the frames: which pixels count, and where the zero frequency is.

    Parameters
    ----------
    path
        The file, for messages.
    measurement
        What the file says.
    options
        What the user says.

    Raises
    ------
    DataFormatError
        If the mask has another shape than the frames, or counts are negative.
    """
    source, said, found = measurement.frames, [], []
    sample = FrameSample(source.shape[1:], measurement.dead_values)
    for row in sample_index(source.shape[0]):
        sample.add(source.read(np.array([row], np.int64))[0])
    valid = np.ones(source.shape[1:], np.bool_) if measurement.mask is None else measurement.mask
    if valid.shape != source.shape[1:]:
        msg = f"the mask in {path} has shape {valid.shape}, its frames {source.shape[1:]}; expected equal shapes. "
        raise DataFormatError(msg + "Name the right mask, or leave it out.")
    if not valid.all():
        said.append(f"mask: {int((~valid).sum())} pixels left out, as the file says")
    flat = measurement.correction.flat
    dead = (sample.unusable | (False if flat is None else ~(flat > 0))) & valid
    if dead.any():
        said.append(f"masked {int(dead.sum())} dead pixels in every frame (found in {sample.count} frames)")
        valid = valid & ~dead
        found.append(("dead pixels found", dead))
    _require_counts(path, sample, measurement, options)
    ratio = options.hot_pixel_ratio or measurement.hot_pixel_ratio
    if ratio is not None:
        hot = hot_pixels(sample.mean, valid, sample.count, ratio)
        said.append(f"masked {int(hot.sum())} hot pixels (mean above {ratio:g} times the median around)")
        valid = valid & ~hot
        found.append(("hot pixels found", hot))
    mean = sample.mean
    if measurement.is_corner:
        valid, mean = np.fft.fftshift(valid), np.fft.fftshift(mean)
    centre, how = _centre(measurement, centre_of_mass(mean, valid), options)
    return Pixels(valid, centre, (*said, *how), tuple(found))


def _require_counts(path: Path, sample: FrameSample, measurement: Measurement, options: ScanOptions) -> None:
    clips = options.intensity_kind == "counts" or measurement.correction.dark is not None
    if sample.lowest < 0 and not clips:
        msg = (
            f"frames in {path} hold counts down to {sample.lowest:.6g}; expected counts >= 0. Give --intensity_kind "
            "counts, which takes negative values of a subtracted dark as 0, or mask such pixels (--mask, dead_values)."
        )
        raise DataFormatError(msg)


def _centre(
    measurement: Measurement, found: tuple[float, float], options: ScanOptions
) -> tuple[tuple[float, float], list[str]]:
    """Where the zero frequency is: as given, as the file says, in the middle, or the centre of mass."""
    height, width = measurement.frames.shape[1:]
    middle = (float(height // 2), float(width // 2))
    stated = options.beam_center_px or measurement.beam_center_px
    if measurement.is_corner:
        return middle, []
    words = []
    if stated is not None:
        inside = 0 <= stated[0] < height and 0 <= stated[1] < width
        if inside or options.beam_center_px is not None:
            whose = "given" if options.beam_center_px is not None else "of the file"
            return stated, [f"beam centre: ({stated[0]:.6g}, {stated[1]:.6g}), as {whose}"]
        words = [f"beam centre: ({stated[0]:.6g}, {stated[1]:.6g}) of the file is outside the frame, so not used"]
    crops = options.crop_px or measurement.crop_px
    if height == width and (crops is None or crops >= height):
        return middle, words
    words.append(f"beam centre: ({found[0]:.2f}, {found[1]:.2f}), centre of mass of the mean pattern")
    return found, words


def window_of(measurement: Measurement, pixels: Pixels, options: ScanOptions) -> tuple[Window, int, list[str]]:
    """Choose the square of detector pixels that is kept, and how many a side are added; say so in words."""
    height, width = measurement.frames.shape[1:]
    default = ScanOptions()
    binning = options.binning if options.binning != default.binning else measurement.binning
    side = options.crop_px or measurement.crop_px
    if side is None:
        side = min(height, width)
        step = 2 * binning if height != width or binning > 1 else 1
        side -= side % step
    top, left = (math.floor(one + 0.5) - side // 2 for one in pixels.centre)
    window, words = Window(top, left, side), []
    if not window.covers((height, width)):
        pads = top < 0 or left < 0 or top + side > height or left + side > width
        words.append(f"patterns: {side} x {side} of {height} x {width} pixels{', padded with masked ones' * pads}")
    if binning > 1:
        words.append(f"patterns: {binning} x {binning} pixels added to one")
    return window, binning, words
