"""Where a refinement starts: from ones, from a product, or from an NPZ with object and probe."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptycho_dist.config.refine import RefineConfig
from ptycho_dist.config.schema import DataConfig
from ptycho_dist.data.formats.base import ComplexArray
from ptycho_dist.data.formats.intensity import sample_index
from ptycho_dist.data.formats.product import Product, scan_settings
from ptycho_dist.data.formats.product_h5 import BACKGROUND, FLUX
from ptycho_dist.data.formats.results.reading import kind_of_result, read_result
from ptycho_dist.data.scan import Scan, require_made_from
from ptycho_dist.data.stored_object import read_stored_object
from ptycho_dist.errors import ConfigError, DataFormatError, RefinementError
from ptycho_dist.physics.optics import within_support
from ptycho_dist.physics.probe import intensity_scale, select_modes
from ptycho_dist.physics.start_modes import separable
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.types import FAR_FIELD, Canvas, FloatArray, ProductMetadata

_MARGIN_PX, _ROOM_TO_MOVE_PX = 1, 24
_LEAST_BACKGROUND = 1e-3
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


def make_estimate(
    start: Start,
    scan: Scan,
    configs: tuple[DataConfig, RefineConfig],
    like: Tensor,
    support_NN: Tensor | None = None,
) -> tuple[Estimate, Canvas]:
    """Put a start on a canvas that holds all patches, with room to move where positions are refined.

    Parameters
    ----------
    start, scan, configs
        What to start from, the scan, and the settings.
    like
        Real tensor of the type and device of the estimate.
    support_NN
        Where the probe may differ from zero, bool, shape (N, N); None where anywhere.

    Raises
    ------
    RefinementError
        If the start holds values that are not finite.
    """
    data, config = configs
    grid, margin = start.origin_px % 1.0, room_px(config)
    canvas = Canvas.around(start.positions_px, scan.header.N, grid_px=grid, margin=margin)
    whole = np.ones(canvas.shape, np.complex128)
    if start.object_ is not None:
        _embed(whole, start.object_, np.rint(start.origin_px - np.asarray(canvas.origin_px)).astype(int))
    probe = torch.from_numpy(start.probe.astype(np.complex128))
    probe = select_modes(probe, data.n_modes or len(probe))
    probe = separable(probe) if data.probe_trainable else probe
    probe = probe if support_NN is None else within_support(probe, support_NN.cpu())
    scaled = probe * intensity_scale(probe, scan.header.mean_counts) if start.object_ is None else probe
    if not (np.isfinite(whole).all() and bool(torch.isfinite(torch.view_as_real(scaled)).all())):
        msg = f"the start of {scan.header.path} holds NaN or infinite values; expected finite ones. Start from ones."
        raise RefinementError(msg)
    complex_like = torch.complex(like, like)
    count = len(start.positions_px)
    flux = np.ones(count) if start.flux is None else np.asarray(start.flux, np.float64)
    return Estimate(
        object_HW=torch.from_numpy(whole).to(complex_like),
        probe_PNN=scaled.to(complex_like).contiguous(),
        positions_px=torch.from_numpy(start.positions_px - np.asarray(canvas.origin_px)),
        flux_B=torch.from_numpy(flux),
        background_NN=_background(start, scan, data, like),
    ), canvas


def room_px(config: RefineConfig) -> int:
    """Pixels that are kept around the patterns, for them to move where positions are refined."""
    return _MARGIN_PX if config.position_start is None else _ROOM_TO_MOVE_PX


def _embed(canvas: NDArray[np.complex128], object_: ComplexArray, corner: NDArray[np.int64]) -> None:
    """Copy the part of an object that lies on a canvas."""
    low = np.maximum(corner, 0)
    high = np.minimum(corner + object_.shape, canvas.shape)
    if (high > low).all():
        inner, outer = low - corner, high - corner
        canvas[low[0] : high[0], low[1] : high[1]] = object_[inner[0] : outer[0], inner[1] : outer[1]]


def _background(start: Start, scan: Scan, data: DataConfig, like: Tensor) -> Tensor | None:
    if start.background is not None:
        return torch.from_numpy(np.asarray(start.background, np.float64)).to(like)
    if data.background == "none":
        return None
    least = max(_LEAST_BACKGROUND, _LEAST_BACKGROUND * scan.header.mean_counts / scan.header.N**2)
    return like.new_full((scan.header.N, scan.header.N), least)
