"""Panels that show a map or a complex wave, with scale bar and colour bar; and figures made of them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib import rc_context as settings_of_figures
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptycho_dist.evaluate import figure_data
from ptycho_dist.types import FloatArray

DPI = 130
WIDTH_IN = 12.4
"""Width of a figure of several panels."""
TITLE, LABEL, TICK = 12, 10, 9
"""Sizes of letters, in points: readable at half the size, too."""
Panel = Callable[[Axes], None]


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

    @property
    def aspect(self) -> float:
        """Rows over columns."""
        rows, columns = self.values.shape
        return float(rows / columns)

    def __call__(self, axes: Axes) -> None:
        """Draw it."""
        low, high = self.limits
        shown = axes.imshow(self.values, cmap=self.colours, vmin=low, vmax=high, interpolation="nearest")
        if self.area is not None and not self.area.all():
            axes.contour(self.area, [0.5], colors="tab:orange", linewidths=1.0, linestyles="dashed")
        _bare(axes, self.title)
        colour_bar(axes, shown, self.unit)
        draw_scale_bar(axes, self.values.shape, self.pixel_size_m, self.side_px)


@dataclass(frozen=True)
class Wave:
    """One panel of a complex wave (N, N): hue is phase, brightness is amplitude."""

    title: str
    wave: NDArray[np.complexfloating]
    pixel_size_m: float

    def __call__(self, axes: Axes) -> None:
        """Draw it, with a wheel of its colours."""
        axes.imshow(figure_data.wave_picture(self.wave), interpolation="nearest")
        _bare(axes, self.title)
        draw_scale_bar(axes, self.wave.shape, self.pixel_size_m)
        wheel = axes.inset_axes((0.76, 0.02, 0.22, 0.22))
        wheel.imshow(figure_data.wave_wheel(), interpolation="bilinear")
        wheel.set_axis_off()


def phase_picture(
    title: str, phase: FloatArray, limits: tuple[float, float], area: NDArray[np.bool_], pixel_size_m: float
) -> Picture:
    """Show a phase: in cyclic colours over a full turn where it needs one, else in even ones."""
    return Picture(title, *figure_data.phase_colours(phase, limits), "rad", area, pixel_size_m)


def error_picture(title: str, error: FloatArray, area: NDArray[np.bool_], unit: str, pixel_size_m: float) -> Picture:
    """Show a difference in diverging colours, white at zero, with its rms in the title."""
    root = float(np.sqrt(np.mean(error[area] ** 2)))
    return Picture(f"{title} (rms {root:.3g})", *figure_data.error_colours(error, area), unit, None, pixel_size_m)


def colour_bar(axes: Axes, shown: Any, unit: str) -> None:
    """Add a colour bar as high as the picture."""
    bar: Any = axes.figure.colorbar(shown, cax=axes.inset_axes((1.02, 0.0, 0.035, 1.0)))
    bar.set_label(unit, fontsize=LABEL)
    bar.ax.tick_params(labelsize=TICK)


def draw_scale_bar(axes: Axes, shape: Sequence[int], pixel_size_m: float, side_px: int = 1) -> None:
    """Draw a scale bar into the lower left corner of a picture (rows, columns); in pixels where no size is known."""
    columns = shape[1]
    length_px, label = figure_data.scale_bar(columns * side_px, pixel_size_m)
    x0, width = 0.05, length_px / side_px / columns
    style: Any = {"transform": axes.transAxes, "solid_capstyle": "butt"}
    box = {"boxstyle": "square,pad=0.25", "fc": "k", "ec": "none", "alpha": 0.55}
    middle = (x0 + width / 2, 0.03)
    place: Any = {"xytext": (0, 6), "textcoords": "offset points", "xycoords": "axes fraction"}
    axes.annotate(label, middle, color="w", fontsize=TICK, ha="center", va="bottom", bbox=box, **place)
    axes.plot([x0, x0 + width], [0.03, 0.03], color="k", lw=5, alpha=0.55, **style)
    axes.plot([x0, x0 + width], [0.03, 0.03], color="w", lw=3, **style)


def png(figure: Figure) -> bytes:
    """Write a figure as PNG."""
    return _written(figure, "png")


def pdf(figure: Figure) -> bytes:
    """Write a figure as PDF, in which text stays text."""
    with settings_of_figures({"pdf.fonttype": 42}):
        return _written(figure, "pdf")


def picture_grid(title: str, rows: list[list[Picture]]) -> Figure:
    """Draw rows of pictures under a headline; pyplot does not know of the figure."""
    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(3.6 * columns, 3.0 * len(rows) + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=TITLE)
    for line, row in zip(figure.subplots(len(rows), columns, squeeze=False), rows, strict=True):
        for axes, picture in zip(line, row, strict=True):
            picture(axes)
    return figure


def pixels_of(figure: Figure) -> NDArray[np.uint8]:
    """Draw a figure as uint8 (rows, columns, 3)."""
    canvas: Any = FigureCanvasAgg(figure)  # untyped
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), np.uint8)[..., :3].copy()


def colour_table(name: str) -> str:
    """Give the 256 colours of a colour map as base64 of 768 bytes: red, green, blue of each."""
    table = np.rint(255 * colormaps[name](np.linspace(0, 1, 256))[:, :3]).astype(np.uint8)
    return base64.b64encode(table.tobytes()).decode("ascii")


def _bare(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=TITLE - 1)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("0.85")


def _written(figure: Figure, kind: str) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format=kind, dpi=DPI)
    return buffer.getvalue()
