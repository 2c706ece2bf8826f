"""Pictures of a reconstruction, drawn by matplotlib."""

from __future__ import annotations

from matplotlib.figure import Figure

from ptycho_dist.evaluate.figures.overview import Overview, draw_overview, overview_figure
from ptycho_dist.evaluate.figures.panels import Picture, colour_table, pdf, picture_grid, pixels_of, png

__all__ = [
    "Figure",
    "Overview",
    "Picture",
    "colour_table",
    "draw_overview",
    "overview_figure",
    "pdf",
    "picture_grid",
    "pixels_of",
    "png",
]
