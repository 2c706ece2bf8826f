"""Pictures of a reconstruction."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ptycho_dist.atomic import atomic_path
from ptycho_dist.evaluate import figure_data
from ptycho_dist.evaluate.frc import RingCorrelation
from ptycho_dist.evaluate.metrics import ReferenceMetrics
from ptycho_dist.types import Canvas, FloatArray

__all__ = [
    "Figure",
    "Overview",
    "Picture",
    "colour_table",
    "draw_overview",
    "overview_figure",
    "picture_grid",
    "pixels_of",
    "png",
]

_NAN = float("nan")
_FULL_TURN_SHARE = 0.8
_DPI = 130
_VERDICT_WIDTH = 150
_ROW = 3
"""Panels in a row that are drawn at full width."""
Panel = Callable[[Axes], None]


@dataclass(frozen=True, kw_only=True)
class Overview:
    """What the overview figure shows.

    Parameters
    ----------
    title
        First line of the figure.
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
    positions_px, normalised_errors
        Scan points (B, 2), and the normalised error of each pattern (B,); or None.
    whole
        Where ``object_`` is a part of a larger one: all of it, complex, a mean over squares of pixels, and their side.
    """

    title: str
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
    whole: tuple[NDArray[np.complexfloating], int] | None = None


@dataclass(frozen=True)
class Picture:
    """One picture panel: values, each of some pixels a side, colour map and limits, and the area to outline."""

    title: str
    values: FloatArray
    colours: str
    limits: tuple[float, float]
    unit: str
    area: NDArray[np.bool_] | None
    pixel_size_m: float
    side_px: int = 1

    def __call__(self, axes: Axes) -> None:
        """Draw it."""
        low, high = self.limits
        shown = axes.imshow(self.values, cmap=self.colours, vmin=low, vmax=high, interpolation="nearest")
        if self.area is not None and not self.area.all():
            axes.contour(self.area, [0.5], colors="tab:orange", linewidths=0.8, linestyles="dashed")
        axes.set_title(self.title, fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_facecolor("0.85")
        bar = axes.figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.03)
        bar.set_label(self.unit, fontsize=8)
        bar.ax.tick_params(labelsize=7)
        self._draw_scale_bar(axes)

    def _draw_scale_bar(self, axes: Axes) -> None:
        rows, columns = self.values.shape
        length_px, label = figure_data.scale_bar(columns * self.side_px, self.pixel_size_m)
        length = length_px / self.side_px
        left, bottom, thick = 0.05 * columns, 0.95 * rows, 0.015 * rows
        pad = 0.02 * columns
        axes.add_patch(Rectangle((left - pad, bottom - 6.5 * thick), length + 2 * pad, 7.5 * thick, fc="k", alpha=0.55))
        axes.add_patch(Rectangle((left, bottom - thick), length, thick, fc="w"))
        axes.text(left + length / 2, bottom - 1.5 * thick, label, color="w", fontsize=7, ha="center", va="bottom")


def overview_figure(overview: Overview) -> Figure:
    """Draw the overview: object (and reference, and errors), loss curve, FRC, probe; pyplot does not know of it."""
    rows = _rows(overview)
    figure = Figure(
        figsize=(4.1 * min(_ROW, max(len(row) for row in rows)), 3.5 * len(rows) + 0.6), layout="constrained"
    )
    figure.suptitle("\n".join(_headline(overview)), fontsize=10)
    for band, panels in zip(figure.subfigures(len(rows), 1, squeeze=False)[:, 0], rows, strict=True):
        for axes, panel in zip(band.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            panel(axes)
    return figure


def draw_overview(path: Path | str, overview: Overview) -> Path:
    """Write the overview figure as a PNG; the file appears under its name only when it is complete."""
    path = Path(path)
    picture = png(overview_figure(overview))
    with atomic_path(path) as temporary:
        temporary.write_bytes(picture)
    return path


def png(figure: Figure) -> bytes:
    """Write a figure as PNG."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


def picture_grid(title: str, rows: list[list[Picture]]) -> Figure:
    """Draw rows of pictures under a headline; pyplot does not know of the figure."""
    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(3.2 * columns, 2.8 * len(rows) + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for line, row in zip(figure.subplots(len(rows), columns, squeeze=False), rows, strict=True):
        for axes, picture in zip(line, row, strict=True):
            picture(axes)
    return figure


def pixels_of(figure: Figure) -> NDArray[np.uint8]:
    """Draw a figure as uint8 (rows, columns, 3)."""
    canvas: Any = FigureCanvasAgg(figure)  # untyped
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), np.uint8)[..., :3].copy()


def _headline(overview: Overview) -> list[str]:
    told = [textwrap.shorten(overview.verdict, _VERDICT_WIDTH, placeholder=" ...")] if overview.verdict else []
    comparison = overview.comparison
    if comparison is None:
        return [overview.title, *told]
    return [
        overview.title,
        f"against {overview.reference_name}: SSIM phase {comparison.ssim_phase:.3f}, amplitude "
        f"{comparison.ssim_amplitude:.3f}; PSNR {comparison.psnr_db:.1f} dB; FRC 1/2-bit "
        f"{_resolution(comparison.frc, overview.pixel_size_m)}",
        *told,
    ]


def _resolution(frc: RingCorrelation | None, pixel_size_m: float) -> str:
    if frc is None:
        return "not measured"
    half = frc.resolution_half_bit_px
    if not np.isfinite(half):
        return "not resolved"
    in_nm = f" ({half * pixel_size_m * 1e9:.1f} nm)" if np.isfinite(pixel_size_m) else ""
    return f"{half:.2f} px{in_nm}"


def _rows(overview: Overview) -> list[list[Panel]]:
    curves: list[Panel] = [lambda axes: _draw_losses(axes, overview)]
    comparison = overview.comparison
    frc = comparison.frc if comparison is not None else None
    if frc is not None:
        curves.append(lambda axes: _draw_frc(axes, frc))
    if overview.normalised_errors is not None and overview.positions_px is not None:
        places, errors = overview.positions_px, overview.normalised_errors
        curves.append(lambda axes: _draw_normalised(axes, places, errors))
    if overview.probe is not None:
        curves.append(_probe_panel(overview.probe, overview.pixel_size_m))
    pictures = [_alone(overview)] if comparison is None else _compared(comparison, overview)
    maps = _maps(overview)
    whole = [] if overview.whole is None else [_whole(*overview.whole, overview.pixel_size_m)]
    return [*whole, *pictures, *([maps] if maps else []), curves]


def _maps(overview: Overview) -> list[Panel]:
    """Panels of what the patches, and the halves of the photons, say of each other."""
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


def _whole(object_: NDArray[np.complexfloating], step: int, pixel_size_m: float) -> list[Panel]:
    """Panels of an object of which the others show a part."""
    everywhere = np.ones(object_.shape, np.bool_)
    wave = figure_data.flattened(object_, everywhere)
    amplitude, phase = np.abs(wave), np.angle(wave)
    seen, seen_phase = figure_data.limits(amplitude, everywhere), figure_data.limits(phase, everywhere)
    name, shown = f"(means of {step} x {step} px)", _phase_image("", phase, seen_phase, everywhere, pixel_size_m)
    return [
        Picture(f"whole object, amplitude {name}", amplitude, "gray", seen, "amplitude", None, pixel_size_m, step),
        replace(shown, title=f"whole object, phase {name}", area=None, side_px=step),
    ]


def _alone(overview: Overview) -> list[Panel]:
    box = Canvas.bounding(overview.area).slices
    area = overview.area[box]
    wave = figure_data.flattened(overview.object_[box], area)
    amplitude, phase = np.abs(wave), np.angle(wave)
    unit, size = "amplitude", overview.pixel_size_m
    return [
        Picture("reconstruction, amplitude", amplitude, "gray", figure_data.limits(amplitude, area), unit, area, size),
        _phase_image("reconstruction, phase (ramp removed)", phase, figure_data.limits(phase, area), area, size),
    ]


def _compared(comparison: ReferenceMetrics, overview: Overview) -> list[list[Panel]]:
    box = Canvas.bounding(comparison.area).slices
    area, size, name = comparison.area[box], overview.pixel_size_m, overview.reference_name
    ref_phase, phase = (values[box] for values in figure_data.phases(comparison))
    ref_amplitude, amplitude = np.abs(comparison.reference[box]), np.abs(comparison.registered.object_[box])
    seen, seen_phase = figure_data.limits(ref_amplitude, area), figure_data.limits(ref_phase, area)
    return [
        [
            Picture(f"{name}, amplitude", ref_amplitude, "gray", seen, "amplitude", area, size),
            Picture("reconstruction, amplitude", amplitude, "gray", seen, "amplitude", area, size),
            _error_image("amplitude error", amplitude - ref_amplitude, area, "amplitude", size),
        ],
        [
            _phase_image(f"{name}, phase", ref_phase, seen_phase, area, size),
            _phase_image("reconstruction, phase", phase, seen_phase, area, size),
            _error_image("phase error", phase - ref_phase, area, "rad", size),
        ],
    ]


def _phase_image(
    title: str, phase: FloatArray, limits: tuple[float, float], area: NDArray[np.bool_], pixel_size_m: float
) -> Picture:
    """Phase panel: a cyclic colour map over a full turn where the phase needs one, else a sequential one."""
    if limits[1] - limits[0] > _FULL_TURN_SHARE * 2 * np.pi:
        wrapped = np.angle(np.exp(1j * phase))
        return Picture(title, wrapped, "twilight", (-np.pi, np.pi), "rad", area, pixel_size_m)
    return Picture(title, phase, "viridis", limits, "rad", area, pixel_size_m)


def _error_image(title: str, error: FloatArray, area: NDArray[np.bool_], unit: str, pixel_size_m: float) -> Picture:
    top = max(abs(value) for value in figure_data.limits(error, area))
    root = float(np.sqrt(np.mean(error[area] ** 2)))
    shown = np.where(area, error, np.nan)
    return Picture(f"{title} (rms {root:.3g})", shown, "RdBu_r", (-top, top), unit, None, pixel_size_m)


def _probe_panel(probe: NDArray[np.complexfloating], pixel_size_m: float) -> Picture:
    amplitude = np.sqrt((np.abs(probe) ** 2).sum(axis=0)).astype(np.float64)
    title = "probe, amplitude" if len(probe) == 1 else f"probe, amplitude of {len(probe)} modes"
    return Picture(title, amplitude, "magma", (0.0, float(amplitude.max()) or 1.0), "sqrt(counts)", None, pixel_size_m)


def _draw_losses(axes: Axes, overview: Overview) -> None:
    losses = np.asarray(overview.losses, dtype=np.float64)
    axes.set_title(overview.loss_name, fontsize=9)
    if not np.isfinite(losses).any():
        axes.text(0.5, 0.5, "no loss recorded", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    epochs = np.arange(len(losses)) if overview.loss_epochs is None else overview.loss_epochs
    axes.plot(epochs, losses, color="tab:blue", marker="." if len(losses) < 40 else "")
    if np.nanmin(losses) > 0:
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _label(axes, overview.loss_unit, overview.loss_name)


def _draw_normalised(axes: Axes, positions_px: FloatArray, errors: FloatArray) -> None:
    """Normalised error of each pattern at its scan point; 1 is photon noise."""
    known = np.isfinite(errors)
    axes.set_title("normalised error of each pattern (1: noise)", fontsize=9)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    low, high = (float(np.percentile(errors[known], share)) for share in (1, 99)) if known.any() else (0.0, 2.0)
    points = axes.scatter(
        positions_px[known, 1],
        positions_px[known, 0],
        c=errors[known],
        s=max(2.0, min(40.0, 6000.0 / max(1, len(errors)))),
        cmap="cividis",
        vmin=min(low, 0.9),
        vmax=max(high, 1.1),
        linewidths=0,
    )
    axes.figure.colorbar(points, ax=axes, fraction=0.046, pad=0.03).ax.tick_params(labelsize=7)
    _label(axes, "x (px)", "y (px)")


def _draw_frc(axes: Axes, frc: RingCorrelation) -> None:
    rings = slice(1, None)  # the mean of both images is taken off, so the ring at zero says nothing
    axes.plot(frc.frequency[rings], frc.correlation[rings], color="tab:blue", label="FRC")
    axes.plot(frc.frequency[rings], frc.half_bit[rings], color="tab:red", ls="--", lw=1, label="1/2-bit")
    axes.axhline(1 / 7, color="tab:gray", ls=":", lw=1, label="1/7")
    axes.set_title("Fourier ring correlation", fontsize=9)
    axes.set_ylim(min(0.0, float(frc.correlation[rings].min())) - 0.02, 1.05)
    axes.set_xlim(0, 0.5)
    axes.legend(fontsize=7, loc="lower left")
    _label(axes, "spatial frequency (cycles per pixel)", "correlation")


def _label(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(labelsize=7, which="both")
    axes.grid(alpha=0.3)


def colour_table(name: str) -> str:
    """Give the 256 colours of a colour map as base64 of 768 bytes: red, green, blue of each."""
    table = np.rint(255 * colormaps[name](np.linspace(0, 1, 256))[:, :3]).astype(np.uint8)
    return base64.b64encode(table.tobytes()).decode("ascii")
