"""Figures of what lies in space: object, probe, and the difference from another object."""

from __future__ import annotations

from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate.figures import Figure
from ptycho_dist.evaluate.figures.overview import (
    Band,
    banded_figure,
    compared_pictures,
    mode_panels,
    object_pictures,
    picture_bands,
)
from ptycho_dist.report.paper.kinds import COLUMN_IN, WIDTH_IN, Subject, figure_kind

_MODES_IN_ROW = 4
_COMPARED_IN = 10.0


@figure_kind("object")
def draw_object(subject: Subject) -> Figure:
    """Draw amplitude and phase of the object in its scanned area."""
    return banded_figure(picture_bands([object_pictures(subject.shown)], WIDTH_IN), width_in=WIDTH_IN)


@figure_kind("probe")
def draw_probe(subject: Subject) -> Figure:
    """Draw the modes of the probe."""
    product = subject.product
    panels = mode_panels(product.probe, product.geometry.pixel_size_m)
    rows = [panels[start : start + _MODES_IN_ROW] for start in range(0, len(panels), _MODES_IN_ROW)]
    width = WIDTH_IN if len(panels) > 1 else COLUMN_IN
    bands = [Band(row, width / max(2 if width == WIDTH_IN else 1, len(row))) for row in rows]
    return banded_figure(bands, width_in=width)


@figure_kind("comparison")
def draw_comparison(subject: Subject) -> Figure:
    """Draw the object beside a reference, the truth or another result, and their difference."""
    comparison = subject.shown.comparison
    if comparison is None:
        msg = (
            f"{subject.source.folder} has nothing to compare with; expected another result or a reference. Give "
            "--other RESULT or --reference FILE."
        )
        raise ConfigError(msg)
    return banded_figure(
        picture_bands(compared_pictures(comparison, subject.shown), _COMPARED_IN), width_in=_COMPARED_IN
    )
