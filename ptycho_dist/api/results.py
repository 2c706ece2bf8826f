"""What the calls of the Python interface return."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.bundle import find_bundle, read_bundle_info
from ptycho_dist.data.formats.base import ComplexArray
from ptycho_dist.data.formats.product_h5 import Product, read_product
from ptycho_dist.data.scan import ScanOptions, open_scan, require_made_from
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray

if TYPE_CHECKING:
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
        What ``metrics.json`` holds; None stands for what is not a finite number.
    scan_path, scan_options, reference
        Scan it was made from and how that was read, and the file it was compared with.
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
    scan_path: Path
    scan_options: ScanOptions = field(default_factory=ScanOptions)
    reference: Path | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        rows, columns = self.object_.shape
        size = f", {self.pixel_size_m * 1e9:.4g} nm per pixel" if math.isfinite(self.pixel_size_m) else ""
        told = "".join(f", {name} {value:.4g}" for name, value in _shown(self.metrics).items())
        return f"<Reconstruction {self.path}: object {rows} x {columns}{size}, {len(self.probe)} probe modes{told}>"

    def figure(self) -> Figure:
        """Draw the overview; a figure that pyplot does not know, and that nobody needs to close."""
        from ptycho_dist.evaluate.figures import overview_figure

        return overview_figure(self._overview())

    def _overview(self) -> Overview:
        from ptycho_dist.evaluate.comparison import overview_of

        product = read_product(self.path)
        with open_scan(self.scan_path, self.scan_options) as scan:
            require_made_from(scan.header, str(self.path), product.scan_checksum, "Reconstruct it again.")
            return overview_of(product, scan, self.reference)

    def _repr_html_(self) -> str:
        """Show picture and metrics in a notebook."""
        from ptycho_dist.evaluate.figures import png

        picture = base64.b64encode(png(self.figure())).decode("ascii")
        rows = "".join(f"<tr><td>{name}</td><td>{value:.4g}</td></tr>" for name, value in _shown(self.metrics).items())
        return (
            f'<p>{escape(repr(self))}</p><img src="data:image/png;base64,{picture}" style="max-width: 100%">'
            f"<table>{rows}</table>"
        )


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


def read_training(path: Path) -> Training:
    """Read what a training has left.

    Parameters
    ----------
    path
        Folder of the bundle, or its parent.

    Raises
    ------
    BundleError
        If there is no whole bundle.
    """
    found = find_bundle(path)
    payload = read_bundle_info(found).payload_dict
    losses = tuple(float(loss) for loss in payload.get("history", {}).get("train_loss", ()))
    return Training(path=found, losses=losses, settings=payload)


def read_reconstruction(path: Path, scan_path: Path, options: ScanOptions, reference: Path | None) -> Reconstruction:
    """Read a product and the ``metrics.json`` beside it.

    Raises
    ------
    DataFormatError
        If the product or the metrics are missing or damaged.
    """
    product = read_product(path)
    return Reconstruction(
        path=path,
        object_=product.object_,
        probe=product.probe,
        positions_px=product.positions_px,
        object_origin_px=product.geometry.object_origin_px,
        pixel_size_m=product.geometry.pixel_size_m,
        losses=product.losses,
        maps=product.extras,
        metrics=_read_metrics(path.with_name("metrics.json"), product),
        scan_path=scan_path,
        scan_options=options,
        reference=reference,
    )


def _read_metrics(path: Path, product: Product) -> dict[str, Any]:
    try:
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read ({error}); expected the metrics of {product.metadata.name}. Evaluate it again."
        raise DataFormatError(msg) from error
    return metrics


def _shown(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(metrics[name]) for name in _TOLD if np.isscalar(metrics.get(name))}
