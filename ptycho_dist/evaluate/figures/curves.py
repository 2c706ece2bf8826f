"""Panels of curves and scan points: convergence, ring correlation, errors and shifts of patterns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, ScalarFormatter
from numpy.typing import NDArray

from ptycho_dist.evaluate.figures.panels import LABEL, TICK, TITLE, colour_bar
from ptycho_dist.evaluate.frc import RingCorrelation
from ptycho_dist.types import FloatArray

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "0.45"
"""Colours that colour-blind people tell apart (Okabe and Ito)."""
_ONE_SEVENTH = 1 / 7
_MARKED = 40
_DECADE = 10.0
_LONGEST = 14


@dataclass(frozen=True)
class Curve:
    """A curve: abscissae, values, name in the legend, colour, and whether it is dashed."""

    x: FloatArray
    y: FloatArray
    name: str
    colour: str
    is_dashed: bool = False


def draw_curves(axes: Axes, title: str, curves: Sequence[Curve], x_label: str, y_label: str) -> None:
    """Draw curves, on a logarithmic axis where all values allow it."""
    axes.set_title(title, fontsize=TITLE - 1)
    values = np.concatenate([curve.y for curve in curves]) if curves else np.empty(0)
    if not np.isfinite(values).any():
        axes.text(0.5, 0.5, "nothing recorded", ha="center", va="center", transform=axes.transAxes, fontsize=LABEL)
        axes.set_axis_off()
        return
    for curve in curves:
        marker = "." if len(curve.x) < _MARKED else ""
        style = "--" if curve.is_dashed else "-"
        axes.plot(curve.x, curve.y, color=curve.colour, marker=marker, ls=style, label=curve.name)
    if np.nanmin(values) > 0:
        _logarithmic(axes, values)
    if len(curves) > 1:
        axes.legend(fontsize=TICK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    label(axes, x_label, y_label)


def draw_rings(axes: Axes, frc: RingCorrelation) -> None:
    """Draw a ring correlation and its thresholds; without the ring at zero, from which the mean is taken."""
    rings = slice(1, None)
    axes.plot(frc.frequency[rings], frc.correlation[rings], color=BLUE, label="FRC")
    axes.plot(frc.frequency[rings], frc.half_bit[rings], color=ORANGE, ls="--", lw=1.2, label="1/2-bit")
    axes.axhline(_ONE_SEVENTH, color=GREY, ls=":", lw=1.2, label="1/7")
    resolution = frc.resolution_half_bit_px
    if np.isfinite(resolution):
        axes.axvline(1 / resolution, color=ORANGE, ls="-", lw=0.8)
    axes.set_title("Fourier ring correlation", fontsize=TITLE - 1)
    axes.set_ylim(min(0.0, float(frc.correlation[rings].min())) - 0.02, 1.05)
    axes.set_xlim(0, 0.5)
    axes.legend(fontsize=TICK, loc="lower left")
    label(axes, "spatial frequency (cycles per pixel)", "correlation")


def draw_errors(axes: Axes, positions_px: FloatArray, errors: FloatArray) -> None:
    """Draw the normalised error of each pattern at its scan point; 1 is photon noise."""
    known = np.isfinite(errors)
    low, high = (float(np.percentile(errors[known], share)) for share in (1, 99)) if known.any() else (0.0, 2.0)
    y, x = positions_px[known].T
    size = max(2.0, min(40.0, 6000.0 / max(1, len(errors))))
    points = axes.scatter(
        x, y, c=errors[known], s=size, cmap="cividis", vmin=min(low, 0.9), vmax=max(high, 1.1), lw=0, rasterized=True
    )
    _as_scan(axes, "error of each pattern")
    colour_bar(axes, points, "normalised error (1: photon noise)")


def draw_shifts(axes: Axes, positions_px: FloatArray, shifts_px: FloatArray) -> None:
    """Draw shifts of positions (B, 2) as arrows, longer than they are by a factor in the title."""
    y, x = positions_px.T
    down, right = shifts_px.T
    length = np.hypot(down, right)
    rms = float(np.sqrt((length**2).mean()))
    extent = float(max(np.ptp(x), np.ptp(y))) or 1.0
    factor = _rounded(extent / _LONGEST / (2 * rms))
    axes.quiver(
        x, y, right * factor, down * factor, color=ORANGE, angles="xy", scale_units="xy", scale=1, width=0.004,
        rasterized=len(x) > 5000,
    )  # fmt: skip
    _as_scan(axes, f"shifts found x {factor:g} (rms {rms:.2f} px)")


def label(axes: Axes, x: str, y: str) -> None:
    """Name the axes."""
    axes.set_xlabel(x, fontsize=LABEL)
    axes.set_ylabel(y, fontsize=LABEL)
    axes.tick_params(labelsize=TICK, which="both")
    axes.grid(alpha=0.3)


def _as_scan(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=TITLE - 1)
    axes.set_aspect("equal")
    axes.margins(0.06)
    if not axes.yaxis_inverted():
        axes.invert_yaxis()
    label(axes, "x (px)", "y (px)")


def _logarithmic(axes: Axes, values: NDArray[np.float64]) -> None:
    """Scale logarithmically, with plain numbers at ticks also where the values span less than a decade."""
    axes.set_yscale("log")
    plain = ScalarFormatter()
    plain.set_scientific(False)
    is_narrow = float(np.nanmax(values) / np.nanmin(values)) < _DECADE
    axes.yaxis.set_major_locator(MaxNLocator(5) if is_narrow else LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_locator(NullLocator())


def _rounded(factor: float) -> float:
    power = 10.0 ** np.floor(np.log10(factor))
    return float(max(lead * power for lead in (1, 2, 5) if lead * power <= factor * (1 + 1e-9)))
