"""Figures of curves and scan points: ring correlation, convergence, errors of patterns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate.figures import Figure
from ptycho_dist.evaluate.figures.curves import (
    BLUE,
    GREEN,
    ORANGE,
    Curve,
    draw_curves,
    draw_errors,
    draw_rings,
    draw_shifts,
)
from ptycho_dist.evaluate.figures.panels import Panel
from ptycho_dist.report.convergence import FOURIER_ERROR, convergence
from ptycho_dist.report.paper.kinds import Subject, figure_kind, one_panel, panels_beside
from ptycho_dist.report.scan_section import point_values
from ptycho_dist.types import FloatArray


@figure_kind("frc")
def draw_frc(subject: Subject) -> Figure:
    """Draw the ring correlation with a reference."""
    comparison = subject.shown.comparison
    frc = None if comparison is None else comparison.frc
    if frc is None:
        msg = (
            f"{subject.source.folder} has no ring correlation: there is no reference, or too little of the object is "
            "common; expected one. Give --reference, or --other RESULT."
        )
        raise ConfigError(msg)
    return one_panel(lambda axes: draw_rings(axes, frc))


@figure_kind("convergence")
def draw_convergence(subject: Subject) -> Figure:
    """Draw the error against passes over the scan, of network and refinement."""
    told = convergence(subject.source)
    curves: list[Curve] = []
    training, refinement = told["training"], told["refinement"]
    end = 0.0
    if training is not None and (refinement is None or told["training_unit"] == FOURIER_ERROR):
        curves.append(Curve(_numbers(training["pass"]), _numbers(training["error"]), "network, its groups", BLUE))
        end = training["pass"][-1]
    if refinement is not None:
        chosen = told["chosen"]
        name = f"refinement from {chosen}" if chosen else "refinement"
        curves.append(Curve(_numbers(refinement["pass"]) + end, _numbers(refinement["error"]), name, ORANGE))
        for start, curve in told["starts"].items():
            if start != chosen:
                x = _numbers(curve["pass"]) + end
                curves.append(Curve(x, _numbers(curve["error"]), f"refinement from {start}", GREEN, is_dashed=True))
    unit = FOURIER_ERROR if refinement is not None else told["training_unit"]
    return one_panel(lambda axes: draw_curves(axes, "convergence", curves, "passes over the scan", unit))


@figure_kind("errors")
def draw_error_map(subject: Subject) -> Figure:
    """Draw the error of each pattern at its scan point, and shifts of positions where some were found."""
    product, shifts = subject.product, subject.shown.shifts_px
    values = point_values(subject.source, product)
    errors = values.get("normalised_error", values.get("fourier_error"))
    if errors is None:
        msg = f"{subject.source.folder} has no errors of patterns; expected frames.csv. Evaluate with --scan first."
        raise ConfigError(msg)
    panels: list[Panel] = [lambda axes: draw_errors(axes, product.positions_px, errors)]
    if shifts is not None:
        panels.append(lambda axes: draw_shifts(axes, product.positions_px, shifts))
    return panels_beside(panels)


def _numbers(values: Sequence[float | None]) -> FloatArray:
    return np.array([np.nan if value is None else value for value in values], np.float64)
