"""Pictures of a reconstruction, drawn by matplotlib."""

from __future__ import annotations

from ptycho_dist.evaluate.figures.overview import (
    Figure,
    Overview,
    Picture,
    colour_table,
    draw_overview,
    overview_figure,
    picture_grid,
    pixels_of,
    png,
)

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
