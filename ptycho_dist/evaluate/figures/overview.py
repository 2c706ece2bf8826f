"""The picture of a reconstruction: object, reference, errors, probe, curves and scan points on one page."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptycho_dist.atomic import atomic_path
from ptycho_dist.evaluate import figure_data
from ptycho_dist.evaluate.figures.curves import BLUE, Curve, draw_curves, draw_errors, draw_rings, draw_shifts
from ptycho_dist.evaluate.figures.panels import (
    TITLE,
    WIDTH_IN,
    Panel,
    Picture,
    Wave,
    error_picture,
    phase_picture,
    png,
)
from ptycho_dist.evaluate.frc import RingCorrelation
from ptycho_dist.evaluate.metrics import ReferenceMetrics
from ptycho_dist.types import Canvas, FloatArray

_NAN = float("nan")
_LINE_WIDTH = 150
_ROW = 3
"""Pictures in a row, of an object about as wide as high."""
_WIDE, _TALL = 0.5, 1.9
"""Rows over columns below which each picture has a row of its own, and above which all of them share one."""
_TITLE_IN, _CURVES_IN, _BESIDE_IN = 0.5, 3.6, 1.2
_TALLEST_IN = 6.0
_MOST_MODES = 4
_NARROW = 15


@dataclass(frozen=True, kw_only=True)
class Overview:
    """What the overview figure shows.

    Parameters
    ----------
    title
        First line of the figure: what it is of.
    told
        Further lines: how it was made, how good it is, by which version and when it was drawn.
    object_, area
        Object, complex (H, W), and its scanned area, bool (H, W).
    comparison
        Comparison with a reference or the truth; None where there is none.
    reference_name
        What the reference is called in the panels.
    probe
        Modes, complex (P, N, N), or None.
    losses, loss_epochs, loss_name, loss_unit
        Loss curve, what it shows, and what is counted along it (epoch, iteration); may be empty.
    pixel_size_m
        Object pixel; NaN where unknown, then scale bars are in pixels.
    coverage, disagreement
        Patches in each pixel, and the deviation between them (NaN where one patch alone decides), (H, W); or None.
    uncertainty
        Root mean square error of the transmission that two halves of the photons tell, (H, W); or None.
    verdict
        How well the patterns are explained, in words; empty where unknown.
    positions_px, normalised_errors, shifts_px
        Scan points (B, 2), the normalised error of each pattern (B,), and shifts of points (B, 2) that were found; or
        None.
    whole
        Where ``object_`` is a part of a larger one: all of it, complex, a mean over squares of pixels, and their side.
    """

    title: str
    told: tuple[str, ...] = ()
    object_: NDArray[np.complexfloating]
    area: NDArray[np.bool_]
    comparison: ReferenceMetrics | None = None
    reference_name: str = "truth"
    probe: NDArray[np.complexfloating] | None = None
    losses: FloatArray = field(default_factory=lambda: np.empty(0))
    loss_epochs: NDArray[np.int64] | None = None
    loss_name: str = "training loss"
    loss_unit: str = "epoch"
    pixel_size_m: float = _NAN
    coverage: NDArray[np.integer] | None = None
    disagreement: NDArray[np.floating] | None = None
    uncertainty: NDArray[np.floating] | None = None
    verdict: str = ""
    positions_px: FloatArray | None = None
    normalised_errors: FloatArray | None = None
    shifts_px: FloatArray | None = None
    whole: tuple[NDArray[np.complexfloating], int] | None = None


@dataclass(frozen=True)
class Band:
    """Panels side by side, and the height of the band in inches."""

    panels: Sequence[Panel]
    height_in: float


def overview_figure(overview: Overview) -> Figure:
    """Draw the overview: object (and reference, and errors), probe, curves and scan; pyplot does not know of it."""
    return banded_figure(_bands(overview), _headline(overview))


def banded_figure(bands: Sequence[Band], lines: Sequence[str] = (), width_in: float = WIDTH_IN) -> Figure:
    """Draw bands of panels under lines of text."""
    heights = [band.height_in for band in bands]
    figure = Figure(figsize=(width_in, sum(heights) + 0.25 * len(lines) + 0.1), layout="constrained")
    if lines:
        figure.suptitle("\n".join(lines), fontsize=TITLE)
    places = figure.subfigures(len(bands), 1, squeeze=False, height_ratios=heights)[:, 0]
    for place, band in zip(places, bands, strict=True):
        for axes, panel in zip(place.subplots(1, len(band.panels), squeeze=False)[0], band.panels, strict=True):
            panel(axes)
    return figure


def draw_overview(path: Path | str, overview: Overview) -> Path:
    """Write the overview figure as a PNG; the file appears under its name only when it is complete."""
    path = Path(path)
    picture = png(overview_figure(overview))
    with atomic_path(path) as temporary:
        temporary.write_bytes(picture)
    return path


def picture_bands(rows: Sequence[Sequence[Picture]], width_in: float = WIDTH_IN) -> list[Band]:
    """Lay rows of pictures of one object out so that wide and tall ones are readable, too."""
    every = [picture for row in rows for picture in row]
    aspect = every[0].aspect
    if aspect < _WIDE:
        return [Band([one], (width_in - _BESIDE_IN) * aspect + _TITLE_IN) for one in every]
    if aspect > _TALL:
        rows = [[replace(one, title=textwrap.fill(one.title, _NARROW)) for one in every]]
    most = max(len(row) for row in rows)
    width = width_in / most - _BESIDE_IN * min(1.0, _ROW / most)
    return [Band(row, min(_TALLEST_IN, width * aspect) + _TITLE_IN) for row in rows]


def _headline(overview: Overview) -> list[str]:
    comparison, told = overview.comparison, list(overview.told)
    if comparison is not None:
        told.append(
            f"against {overview.reference_name}: SSIM phase {comparison.ssim_phase:.3f}, amplitude "
            f"{comparison.ssim_amplitude:.3f}; PSNR {comparison.psnr_db:.1f} dB; FRC 1/2-bit "
            f"{_resolution(comparison.frc, overview.pixel_size_m)}"
        )
    told += [overview.verdict] if overview.verdict else []
    lines = [overview.title, *told, *(["dashed: edge of the scanned area"] if not overview.area.all() else [])]
    return [textwrap.shorten(line, _LINE_WIDTH, placeholder=" ...") for line in lines]


def _resolution(frc: RingCorrelation | None, pixel_size_m: float) -> str:
    if frc is None:
        return "not measured"
    half = frc.resolution_half_bit_px
    if not np.isfinite(half):
        return "not resolved"
    length = f" ({figure_data.length_text(half * pixel_size_m)})" if np.isfinite(pixel_size_m) else ""
    return f"{half:.2f} px{length}"


def _bands(overview: Overview) -> list[Band]:
    comparison = overview.comparison
    whole = [] if overview.whole is None else picture_bands([_whole(*overview.whole, overview.pixel_size_m)])
    maps: list[Picture] = _maps(overview)
    rows = [object_pictures(overview)] if comparison is None else compared_pictures(comparison, overview)
    rest = _others(overview)
    if maps and not _WIDE <= maps[0].aspect <= _TALL:
        rows = [*rows, maps]
    else:
        rest = [*maps, *rest]
    each = min(_ROW, len(rest)) if len(rest) != _ROW + 1 else 2
    return [*whole, *picture_bands(rows), *(Band(some, _CURVES_IN) for some in _by(rest, each))]


def _by(panels: Sequence[Panel], count: int) -> list[Sequence[Panel]]:
    return [panels[start : start + count] for start in range(0, len(panels), count)]


def _others(overview: Overview) -> list[Panel]:
    """Panels beside those of the object: curves, probe, scan points."""
    found: list[Panel] = [
        lambda axes: draw_curves(axes, overview.loss_name, _losses(overview), overview.loss_unit, overview.loss_name)
    ]
    frc = None if overview.comparison is None else overview.comparison.frc
    if frc is not None:
        found.append(lambda axes: draw_rings(axes, frc))
    if overview.probe is not None:
        found += mode_panels(overview.probe, overview.pixel_size_m)
    places, errors, shifts = overview.positions_px, overview.normalised_errors, overview.shifts_px
    if places is not None and errors is not None:
        found.append(lambda axes: draw_errors(axes, places, errors))
    if places is not None and shifts is not None:
        found.append(lambda axes: draw_shifts(axes, places, shifts))
    return found


def _losses(overview: Overview) -> list[Curve]:
    losses = np.asarray(overview.losses, dtype=np.float64)
    epochs = np.arange(len(losses)) if overview.loss_epochs is None else overview.loss_epochs
    return [Curve(np.asarray(epochs, np.float64), losses, overview.loss_name, BLUE)]


def mode_panels(probe: NDArray[np.complexfloating], pixel_size_m: float) -> list[Wave]:
    """Panels of the first modes of a probe (P, N, N), with their shares of the power."""
    energy = (np.abs(probe) ** 2).sum(axis=(1, 2), dtype=np.float64)
    shares = energy / (energy.sum() or 1.0)
    count = min(len(probe), _MOST_MODES)
    names = [f"probe mode {k + 1} of {len(probe)} ({shares[k]:.1%})" for k in range(count)]
    names = ["probe (hue: phase)"] if len(probe) == 1 else names
    return [Wave(name, mode, pixel_size_m) for name, mode in zip(names, probe[:count], strict=True)]


def _maps(overview: Overview) -> list[Picture]:
    """Pictures of what the patches, and the halves of the photons, say of each other."""
    box, size = Canvas.bounding(overview.area).slices, overview.pixel_size_m
    if overview.uncertainty is not None:
        deviation, inside = overview.uncertainty[box].astype(np.float64), overview.area[box]
        top = figure_data.limits(deviation, inside)[1]
        name = f"uncertainty (median {float(np.median(deviation[inside])):.2g})"
        return [Picture(name, deviation, "magma", (0.0, top), "rms error of transmission", inside, size)]
    if overview.coverage is None or overview.disagreement is None:
        return []
    area, coverage = overview.area[box], overview.coverage[box].astype(np.float64)
    between = overview.disagreement[box].astype(np.float64)
    top = figure_data.limits(between, area)[1]
    typical = float(np.nanmedian(np.where(area, between, np.nan))) if np.isfinite(between[area]).any() else _NAN
    name = f"disagreement of patches (median {typical:.2g})"
    return [
        Picture(name, between, "magma", (0.0, top), "deviation of transmission", area, size),
        Picture("coverage", coverage, "cividis", (0.0, float(coverage.max()) or 1.0), "patches", area, size),
    ]


def _whole(object_: NDArray[np.complexfloating], step: int, pixel_size_m: float) -> list[Picture]:
    """Pictures of an object of which the others show a part."""
    everywhere = np.ones(object_.shape, np.bool_)
    wave = figure_data.flattened(object_, everywhere)
    amplitude, phase = np.abs(wave), np.angle(wave)
    seen, seen_phase = figure_data.limits(amplitude, everywhere), figure_data.limits(phase, everywhere)
    name, shown = f"(means of {step} x {step} px)", phase_picture("", phase, seen_phase, everywhere, pixel_size_m)
    return [
        Picture(f"whole object, amplitude {name}", amplitude, "gray", seen, "amplitude", None, pixel_size_m, step),
        replace(shown, title=f"whole object, phase {name}", area=None, side_px=step),
    ]


def object_pictures(overview: Overview) -> list[Picture]:
    """Pictures of an object in its scanned area: amplitude, and phase without its ramp."""
    box = Canvas.bounding(overview.area).slices
    area = overview.area[box]
    wave = figure_data.flattened(overview.object_[box], area)
    amplitude, phase = np.abs(wave), np.angle(wave)
    unit, size = "amplitude", overview.pixel_size_m
    return [
        Picture("amplitude", amplitude, "gray", figure_data.limits(amplitude, area), unit, area, size),
        phase_picture("phase (ramp removed)", phase, figure_data.limits(phase, area), area, size),
    ]


def compared_pictures(comparison: ReferenceMetrics, overview: Overview) -> list[list[Picture]]:
    """Pictures of a reference, of the object brought onto it, and of their difference: amplitudes, then phases."""
    box = Canvas.bounding(comparison.area).slices
    area, size, name = comparison.area[box], overview.pixel_size_m, overview.reference_name
    ref_phase, phase = (values[box] for values in figure_data.phases(comparison))
    ref_amplitude, amplitude = np.abs(comparison.reference[box]), np.abs(comparison.registered.object_[box])
    seen, seen_phase = figure_data.limits(ref_amplitude, area), figure_data.limits(ref_phase, area)
    return [
        [
            Picture(f"{name}, amplitude", ref_amplitude, "gray", seen, "amplitude", area, size),
            Picture("reconstruction, amplitude", amplitude, "gray", seen, "amplitude", area, size),
            error_picture("amplitude error", amplitude - ref_amplitude, area, "amplitude", size),
        ],
        [
            phase_picture(f"{name}, phase", ref_phase, seen_phase, area, size),
            phase_picture("reconstruction, phase", phase, seen_phase, area, size),
            error_picture("phase error", phase - ref_phase, area, "rad", size),
        ],
    ]
