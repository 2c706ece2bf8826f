"""Where a refinement starts: from ones, from a product, or from an NPZ with object and probe."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.base import ComplexArray
from ptycho_dist.data.formats.intensity import sample_index
from ptycho_dist.data.formats.product import Product, scan_settings
from ptycho_dist.data.formats.product_h5 import BACKGROUND, FLUX
from ptycho_dist.data.formats.results.reading import kind_of_result, read_result
from ptycho_dist.data.scan import Scan, require_made_from
from ptycho_dist.data.stored_object import read_stored_object
from ptycho_dist.errors import ConfigError, DataFormatError
from ptycho_dist.types import FAR_FIELD, FloatArray, IntArray, ProductMetadata

_LEAST_COUNTS = 1e-30
"""Counts of a pattern below which a probe of another program is zero."""
_READ_ALIKE = (
    "drop_frames",
    "transpose",
    "flip_rows",
    "flip_columns",
    "swap_positions",
    "negate_y",
    "negate_x",
    "position_unit",
)


@dataclass(frozen=True)
class Start:
    """What a file (or the scan) gives to start from; None where it does not.

    Parameters
    ----------
    object_
        complex (H, W), its pixel (0, 0) at ``origin_px``.
    probe
        complex (P, N, N).
    positions_px
        Patch corners (B, 2).
    flux, background
        As in :class:`~ptycho_dist.refine.estimate.Estimate`.
    """

    object_: ComplexArray | None
    origin_px: FloatArray
    probe: ComplexArray
    positions_px: FloatArray
    flux: NDArray[np.float64] | None = None
    background: NDArray[np.float64] | None = None

    def some(self, patterns: IntArray) -> Start:
        """Give that of some patterns, by ascending numbers."""
        flux = None if self.flux is None else self.flux[patterns]
        return replace(self, positions_px=self.positions_px[patterns], flux=flux)


def read_start(scan: Scan, path: Path | None, propagation: str = FAR_FIELD.kind) -> Start:
    """Read where to start; ``propagation`` names the propagator of the refinement.

    Raises
    ------
    ConfigError
        If the file was made with another propagator.
    DataFormatError
        If the file holds no object, or belongs to another scan.
    """
    if path is None:
        return Start(None, np.zeros(2), _probe_of(scan, None), scan.positions_px)
    if path.suffix == ".npz" and kind_of_result(path) is None:
        return _from_npz(scan, path)
    product = read_result(path)
    count = scan.header.n_patterns
    if product.probe.shape[-1] != scan.header.N or not np.array_equal(np.sort(product.indexes), np.arange(count)):
        msg = (
            f"{path} holds {len(product.indexes)} patterns of {product.probe.shape[-1]} pixels; expected the "
            f"{count} patterns of {scan.header.N} pixels of {scan.header.path}. Start from a product of this scan."
        )
        raise DataFormatError(msg)
    fix = "Start from a product of this scan, or from an NPZ with object and probe."
    require_made_from(scan.header, str(path), product.scan_checksum, fix)
    _require_propagation(path, product.metadata, propagation)
    _require_same_reading(path, product.metadata, scan)
    order = np.argsort(product.indexes)
    return Start(
        product.object_,
        np.asarray(product.geometry.object_origin_px),
        product.probe if product.metadata.provenance else _in_counts(scan, product),
        product.positions_px[order],
        flux=product.extras.get(FLUX),
        background=product.extras.get(BACKGROUND),
    )


def _in_counts(scan: Scan, product: Product) -> ComplexArray:
    """Scale the probe of another program's result, whose unit is its own, to the mean counts of the scan.

    By Parseval's theorem the counts of a pattern are the sum of abs(probe * patch) ** 2.
    """
    N = scan.header.N
    corners = np.rint(product.positions_px - product.geometry.object_origin_px).astype(int)
    inside = ((corners >= 0) & (corners + N <= product.object_.shape)).all(axis=1)
    if not inside.any():
        msg = (
            f"none of the {len(corners)} patches of the start of {scan.header.path} lies inside its object "
            f"{product.object_.shape}; expected positions that index it. Start from ones, or export it again."
        )
        raise DataFormatError(msg)
    intensity = (np.abs(product.probe) ** 2).sum(axis=0)
    chosen = corners[inside][sample_index(int(inside.sum()))]
    found = [float((intensity * np.abs(product.object_[y : y + N, x : x + N]) ** 2).sum()) for y, x in chosen]
    scale = math.sqrt(scan.header.mean_counts / max(sum(found) / len(found), _LEAST_COUNTS))
    return np.asarray(product.probe * scale, np.complex64)


def _require_same_reading(path: Path, metadata: ProductMetadata, scan: Scan) -> None:
    """Refuse a product whose scan was read otherwise: other patterns, or turned, or with other axes or units."""
    stored = scan_settings(metadata)
    for name in [name for name in _READ_ALIKE if name in stored]:
        made, said = stored[name], getattr(scan.options, name)
        if not (scan.options.drops_alike(made) if name == "drop_frames" else made == said):
            msg = (
                f"data.{name} = {said!r}, but {path} was made with {made!r}; expected the same, for its object and "
                f"positions are those of that reading. Give --{name} as there, or start from ones."
            )
            raise ConfigError(msg)


def _require_propagation(path: Path, metadata: ProductMetadata, propagation: str) -> None:
    """Refuse a product of this program of another propagator; other programs do not say theirs."""
    made_with = metadata.propagation.kind
    if metadata.provenance and made_with != propagation:
        msg = (
            f"{path} was made with propagation {made_with}, but data.propagation = {propagation}; expected the same. "
            f"Give --propagation {made_with}, or start from another product."
        )
        raise ConfigError(msg)


def _from_npz(scan: Scan, path: Path) -> Start:
    """Read object and probe."""
    object_, corner = read_stored_object(path, scan.positions_px)
    with np.load(path, allow_pickle=False) as file:
        probe = next((file[name] for name in ("probe", "probeGuess") if name in file), None)
    return Start(object_, corner, _probe_of(scan, probe), scan.positions_px)


def _probe_of(scan: Scan, given: ComplexArray | None) -> ComplexArray:
    probe = scan.probe if given is None else np.reshape(given, (-1, *given.shape[-2:]))
    N = scan.header.N
    if probe is None or probe.shape[-2:] != (N, N):
        found = "no probe" if probe is None else f"a probe of {probe.shape}"
        msg = f"{scan.header.path} with its start gives {found}; expected modes of {N} by {N}. Give a probe."
        raise DataFormatError(msg)
    return probe
