"""Picture of a scan as it was read: mean pattern, mask, positions over the sums of the frames, probe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptycho_dist.atomic import atomic_path
from ptycho_dist.evaluate.figures import png
from ptycho_dist.types import FloatArray

_MOST_POINTS = 20_000
_JOINED = 20
_FONT = 9
_FEW = 200
"""Pixels of one kind that are circled."""
_OF_FILE = "mask of the file"
_COLOURS = ("0.35", "tab:red", "tab:orange", "tab:purple", "tab:blue", "tab:green")


@dataclass(frozen=True, kw_only=True)
class ScanPicture:
    """What is drawn.

    Parameters
    ----------
    title
        Headline.
    mean
        float64 (N, N): mean pattern, masked pixels NaN.
    mask
        bool (N, N), True = valid.
    left_out
        Why pixels are left out besides the mask of the file: words, and bool (N, N), True = left out.
    centre_of_mass_px
        (y, x) of the mean pattern.
    positions_px
        float64 (B, 2).
    sums
        float64 (B,): counts of each pattern.
    probe
        complex (P, N, N), or None.
    pixel_size_m
        Object pixel; NaN where not known.
    """

    title: str
    mean: FloatArray
    mask: NDArray[np.bool_]
    left_out: Sequence[tuple[str, NDArray[np.bool_]]]
    centre_of_mass_px: tuple[float, float]
    positions_px: FloatArray
    sums: FloatArray
    probe: NDArray[np.complexfloating] | None
    pixel_size_m: float


def draw_scan(path: Path, picture: ScanPicture) -> Path:
    """Write the picture of a scan as a PNG; the file appears under its name only when it is complete."""
    panels = [_draw_mean, _draw_mask, _draw_positions]
    panels += [] if picture.probe is None else [_draw_probe]
    figure = Figure(figsize=(4.4 * 2, 4.0 * math.ceil(len(panels) / 2) + 0.5), layout="constrained")
    figure.suptitle(picture.title, fontsize=10)
    places = figure.subplots(math.ceil(len(panels) / 2), 2, squeeze=False).ravel()
    for axes, panel in zip(places, panels, strict=False):
        panel(axes, picture)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    with atomic_path(path) as temporary:
        temporary.write_bytes(png(figure))
    return path


def _draw_mean(axes: Axes, picture: ScanPicture) -> None:
    """Mean pattern, log; where the zero frequency is taken to be, and where the centre of mass is."""
    mean = picture.mean
    top = float(np.nanmax(mean)) if np.isfinite(mean).any() else 1.0
    lit = mean[np.isfinite(mean) & (mean > 0)]
    low = max(float(lit.min()) if lit.size else 1.0, 1e-6 * top, 1e-30)
    drawn = np.ma.masked_invalid(np.maximum(mean, low))
    shown = axes.imshow(drawn, cmap="inferno", norm=LogNorm(low, max(top, 10 * low)), interpolation="nearest")
    axes.set_facecolor("0.7")
    middle = len(mean) // 2
    axes.plot(middle, middle, "+", color="cyan", ms=12, mew=1.5, label=f"zero frequency ({middle}, {middle})")
    y, x = picture.centre_of_mass_px
    axes.plot(x, y, "x", color="lime", ms=8, mew=1.5, label=f"centre of mass ({y:.1f}, {x:.1f})")
    axes.legend(fontsize=7, loc="upper right")
    axes.set_title("mean pattern (log); grey: masked", fontsize=_FONT)
    _pixels(axes)
    _bar(axes, shown, "counts")


def _draw_mask(axes: Axes, picture: ScanPicture) -> None:
    """Draw valid pixels white, others in the colour of why; a few of a kind are circled, else they are hardly seen."""
    mask, why = picture.mask, reasons(picture)
    colours = ("white", *_COLOURS)
    axes.imshow(why, cmap=ListedColormap(colours), vmin=0, vmax=len(colours) - 1, interpolation="nearest")
    for number, words in enumerate((_OF_FILE, *(name for name, _ in picture.left_out)), start=1):
        places = np.argwhere(why == number)
        few = len(places) <= _FEW
        y, x = places.T if few else np.empty((2, 0))
        if len(places):
            label = f"{words}: {len(places)}"
            fill = "none" if few else colours[number]
            axes.plot(x, y, ls="none", marker="o" if few else "s", ms=8, mfc=fill, mec=colours[number], label=label)
    if not mask.all():
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, frameon=False)
    axes.set_title(f"mask: {int((~mask).sum())} of {mask.size} pixels left out", fontsize=_FONT)
    _pixels(axes)


def reasons(picture: ScanPicture) -> NDArray[np.int64]:
    """Tell of each pixel (N, N) why it is left out: 0 is valid, 1 the mask of the file, then as in ``left_out``.

    Of several reasons the first counts.
    """
    why = np.where(picture.mask, 0, 1)
    for number, (_, bad) in enumerate(picture.left_out, start=2):
        why[bad & (why == 1)] = number
    return why


def _draw_positions(axes: Axes, picture: ScanPicture) -> None:
    """Scan points, coloured by the sum of their frame; the first ones joined, to show the order."""
    every = max(1, len(picture.sums) // _MOST_POINTS)
    points, sums = picture.positions_px[::every], picture.sums[::every]
    axes.plot(points[:_JOINED, 1], points[:_JOINED, 0], "-", color="0.6", lw=0.7, zorder=0, label="in order")
    shown = axes.scatter(
        points[:, 1], points[:, 0], c=sums, s=max(3.0, min(40.0, 8000.0 / len(sums))), cmap="viridis", linewidths=0
    )
    axes.plot(points[0, 1], points[0, 0], "o", mfc="none", mec="tab:red", ms=9, label="first")
    axes.legend(fontsize=7, loc="best")
    axes.set_aspect("equal")
    axes.invert_yaxis()
    size = f" of {picture.pixel_size_m * 1e9:.4g} nm" if math.isfinite(picture.pixel_size_m) else ""
    axes.set_xlabel(f"x (px{size})", fontsize=8)
    axes.set_ylabel("y (px)", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.set_title(f"{len(picture.sums)} patch corners, colour: counts of the frame", fontsize=_FONT)
    _bar(axes, shown, "counts")


def _draw_probe(axes: Axes, picture: ScanPicture) -> None:
    assert picture.probe is not None
    amplitude = np.sqrt((np.abs(picture.probe) ** 2).sum(axis=0))
    shown = axes.imshow(amplitude, cmap="magma", interpolation="nearest")
    axes.set_title(f"probe of the file, {len(picture.probe)} mode(s), amplitude", fontsize=_FONT)
    _pixels(axes)
    _bar(axes, shown, "amplitude")


def _bar(axes: Axes, shown: Any, label: str) -> None:
    bar = axes.figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)


def _pixels(axes: Axes) -> None:
    axes.set_xlabel("x (pixel)", fontsize=8)
    axes.set_ylabel("y (pixel)", fontsize=8)
    axes.tick_params(labelsize=7)
