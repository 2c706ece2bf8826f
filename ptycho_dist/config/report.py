"""What commands that have no execution settings write for people."""

from __future__ import annotations

from dataclasses import dataclass

from ptycho_dist.config import validators


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """What is written beside metrics and pictures."""

    report: bool = True
    """Write report.html, a page with all of it that opens in any browser."""

    def __post_init__(self) -> None:
        validators.require_bool("page.report", self.report)


@dataclass(frozen=True, kw_only=True)
class FigureConfig:
    """Which figure is drawn."""

    kind: str = "object"
    """object, probe, frc, convergence, errors (of patterns, and shifts of positions) or comparison."""
