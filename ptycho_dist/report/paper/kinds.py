"""What a figure for a paper is of, its kinds, and how it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ptycho_dist.atomic import atomic_path
from ptycho_dist.data.formats.product_h5 import Product
from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate.figures import Figure, Overview, pdf, png
from ptycho_dist.evaluate.figures.overview import Band, banded_figure
from ptycho_dist.evaluate.figures.panels import Panel
from ptycho_dist.registry import Registry
from ptycho_dist.report.source import Source

SUFFIXES = (".png", ".pdf")
WIDTH_IN = 7.2
"""Width of a figure over both columns of a journal."""
COLUMN_IN = 4.4
"""Width of a figure in one column, with room for a colour bar."""
HEIGHT_IN = 3.2


@dataclass(frozen=True)
class Subject:
    """What a figure is of.

    Parameters
    ----------
    source
        Results as read.
    overview
        What their picture shows, with the comparison with a reference, if there is one; None for a training alone.
    """

    source: Source
    overview: Overview | None

    @property
    def product(self) -> Product:
        """The product.

        Raises
        ------
        ConfigError
            If there is none.
        """
        self._require_object()
        assert self.source.product is not None
        return self.source.product

    @property
    def shown(self) -> Overview:
        """What the picture of the product shows; raises as :attr:`product`."""
        self._require_object()
        assert self.overview is not None
        return self.overview

    def _require_object(self) -> None:
        if self.source.product is None:
            msg = f"{self.source.folder} holds no object; expected results of infer, refine or reconstruct. Run one."
            raise ConfigError(msg)


Draw = Callable[[Subject], Figure]
_KINDS: Registry[Draw] = Registry("figure", "ptycho_dist.report.paper")
figure_kind = _KINDS.register
"""Decorator with a name, of what draws a figure of a :class:`Subject`."""


def kinds() -> tuple[str, ...]:
    """Names of the figures that there are."""
    return tuple(_KINDS.entries())


def write_figure(kind: str, subject: Subject, path: Path) -> Path:
    """Draw a figure; the file appears under its name only when it is complete.

    Parameters
    ----------
    kind
        Name of the figure.
    subject
        What it is of.
    path
        PNG or PDF file.

    Raises
    ------
    ConfigError
        If the kind is unknown, or the results do not hold what it shows.
    """
    if kind not in _KINDS.entries():
        msg = f"no figure is called {kind!r}; expected one of {', '.join(kinds())}. Change --kind."
        raise ConfigError(msg)
    figure = _KINDS.entries()[kind](subject)
    content = pdf(figure) if path.suffix.lower() == ".pdf" else png(figure)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


def one_panel(panel: Panel) -> Figure:
    """Draw a figure of one panel, one column wide."""
    return panels_beside([panel])


def panels_beside(panels: Sequence[Panel]) -> Figure:
    """Draw panels side by side."""
    return banded_figure([Band(panels, HEIGHT_IN)], width_in=COLUMN_IN if len(panels) == 1 else WIDTH_IN)
