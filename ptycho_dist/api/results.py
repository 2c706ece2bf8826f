"""What the calls of the Python interface return."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist import notebook_html
from ptycho_dist.api.history import History, read_history
from ptycho_dist.data.formats.base import ComplexArray
from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.scan import ScanOptions, open_scan, require_made_from
from ptycho_dist.errors import ConfigError
from ptycho_dist.report.write import NAME as REPORT
from ptycho_dist.run_folder import prefix_of
from ptycho_dist.types import FloatArray

if TYPE_CHECKING:
    from xarray import Dataset

    from ptycho_dist.evaluate.figures import Figure, Overview

_TOLD = ("fourier_error", "fourier_error_unseen_rows", "ssim_phase", "psnr_db", "frc_resolution_half_bit_px", "ranks")
"""Metrics that are shown; all of them are in ``metrics``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reconstruction:
    """A reconstruction, as its product file holds it; stands for that file where a path is expected.

    Parameters
    ----------
    path
        Product file.
    object_
        complex64, shape (H, W): transmission of the object, dimensionless.
    probe
        complex64, shape (P, N, N): probe modes, sqrt(photons) of the patterns.
    positions_px
        float64, shape (B, 2): patch corners (y, x) in object pixels; minus ``object_origin_px`` they index
        ``object_``.
    object_origin_px
        Position (y, x) of the pixel (0, 0) of ``object_``.
    pixel_size_m
        Object pixel in metres; NaN where unknown.
    losses
        float64, shape (n,): training loss of each epoch, or Fourier error of each iteration of a refinement.
    maps
        Further arrays of the product by name, such as ``coverage`` (H, W).
    metrics
        What ``metrics.json`` holds; None stands for what is not a finite number; empty where it was not evaluated.
    scan_path, scan_options, reference
        Scan it was made from (None where that is not known) and how that was read, and the file it was compared with.
    """

    path: Path
    object_: ComplexArray
    probe: ComplexArray
    positions_px: FloatArray
    object_origin_px: tuple[float, float]
    pixel_size_m: float
    losses: FloatArray
    maps: Mapping[str, NDArray[Any]]
    metrics: Mapping[str, Any]
    scan_path: Path | None
    scan_options: ScanOptions = field(default_factory=ScanOptions)
    reference: Path | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        rows, columns = self.object_.shape
        size = f", {self.pixel_size_m * 1e9:.4g} nm per pixel" if math.isfinite(self.pixel_size_m) else ""
        told = "".join(f", {name} {value:.4g}" for name, value in _shown(self.metrics).items())
        return f"<Reconstruction {self.path}: object {rows} x {columns}{size}, {len(self.probe)} probe modes{told}>"

    @property
    def history(self) -> History:
        """Tables that the stages left: ``history["refinement"]["fourier_error"]``, ``history["training"]["epoch"]``."""
        return read_history(self.path.parent)

    @property
    def report(self) -> Path | None:
        """Page ``report.html`` beside the product; None where there is none."""
        return _existing(self.path.with_name(prefix_of(self.path) + REPORT))

    def figure(self) -> Figure:
        """Draw the overview; a figure that pyplot does not know, and that nobody needs to close."""
        from ptycho_dist.evaluate.figures import overview_figure

        return overview_figure(self._overview())

    def show(self) -> None:
        """Show the overview picture below the cell of a notebook.

        Raises
        ------
        ConfigError
            Where there is no notebook, nor IPython.
        """
        from ptycho_dist.evaluate.figures import png

        ipython = sys.modules.get("IPython")
        if ipython is None or ipython.get_ipython() is None:
            msg = (
                "show() draws below the cell of a notebook, and there is none; expected IPython or Jupyter. Write the "
                "picture by result.figure().savefig('overview.png')."
            )
            raise ConfigError(msg)
        ipython.display.display(ipython.display.Image(png(self.figure())))

    def to_xarray(self) -> Dataset:
        """Give object, its maps, probe and positions as an xarray data set, with axes in metres where they are known.

        Raises
        ------
        ConfigError
            If xarray is not installed.
        """
        from ptycho_dist.api.labelled import dataset_of

        return dataset_of(self)

    def _overview(self) -> Overview:
        from ptycho_dist.evaluate.comparison import overview_of

        product = read_product(self.path)
        if self.scan_path is None or not self.scan_path.is_file():
            return overview_of(product, None, self.reference)
        with open_scan(self.scan_path, self.scan_options) as scan:
            require_made_from(scan.header, str(self.path), product.scan_checksum, "Reconstruct it again.")
            return overview_of(product, scan, self.reference)

    def _repr_html_(self) -> str:
        """Show small pictures and metrics in a notebook."""
        figures = [
            *notebook_html.wave(self.object_, "object"),
            notebook_html.thumbnail(np.abs(self.probe[0]), "probe, first mode, amplitude"),
        ]
        shown = notebook_html.table(_shown(self.metrics) | _links(self.path, self.report))
        return notebook_html.page(repr(self), notebook_html.row(figures), shown)


@dataclass(frozen=True, kw_only=True)
class Training:
    """A trained network; stands for its bundle where a path is expected.

    Parameters
    ----------
    path
        Folder of the bundle.
    losses
        Training loss of each epoch.
    settings
        Settings of the training: nested plain values, by section.
    """

    path: Path
    losses: tuple[float, ...]
    settings: Mapping[str, Any]

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        last = f", last loss {self.losses[-1]:.4g}" if self.losses else ""
        return f"<Training {self.path}: {len(self.losses)} epochs{last}>"

    @property
    def history(self) -> History:
        """Table of the training, ``history["training"]``: columns such as ``epoch`` and ``train_loss``."""
        return read_history(self.path.parent)

    @property
    def report(self) -> Path | None:
        """Page ``report.html`` beside the bundle; None where there is none."""
        return _existing(self.path.with_name(REPORT))

    def _repr_html_(self) -> str:
        """Show the losses and folded the settings in a notebook."""
        drawn = notebook_html.curve(np.array(self.losses), "training loss of each epoch, log") if self.losses else ""
        sections = {name: values for name, values in self.settings.items() if isinstance(values, Mapping)}
        settings = {f"{name}.{key}": value for name, values in sections.items() for key, value in values.items()}
        folded = notebook_html.folded("settings", notebook_html.table(settings))
        return notebook_html.page(repr(self), drawn, notebook_html.table(_links(self.path, self.report)), folded)


def _links(path: Path, report: Path | None) -> dict[str, str]:
    return {"file": str(path)} | ({} if report is None else {"report": str(report)})


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None


def _shown(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(metrics[name]) for name in _TOLD if np.isscalar(metrics.get(name))}
