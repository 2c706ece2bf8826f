"""How well a network predicts a whole scan: its patterns agree on one object, which is held against them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptycho_dist.config.schema import DataConfig
from ptycho_dist.data.batches import PatternBatches
from ptycho_dist.data.grouping import neighbor_groups
from ptycho_dist.data.scan import Scan
from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate.group_error import residual_of_object
from ptycho_dist.evaluate.metrics import Placed, compare_to_reference
from ptycho_dist.model.neighbours import Neighbours, normalised
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.physics.patches import PatchGeometry, place_at
from ptycho_dist.types import Canvas, IntArray

SIMILARITIES = ("ssim_phase", "ssim_amplitude")
_PIECE, _SEAM_PX = 64, 16


@dataclass(frozen=True)
class ScanQuality:
    """How good the stitched object of a scan is.

    Parameters
    ----------
    misfit, photons
        Squared residual, and photons, of its patterns.
    similarity
        Structural similarity to the object that the scan holds, by the names of ``SIMILARITIES``; those alone that
        can be measured.
    """

    misfit: float
    photons: float
    similarity: Mapping[str, float]


def mean_quality(scans: Sequence[ScanQuality]) -> dict[str, float]:
    """Fourier error of all patterns of some scans, and the mean similarity of those that hold an object, by name."""
    misfit, photons = sum(one.misfit for one in scans), sum(one.photons for one in scans)
    found = {"fourier_error": math.sqrt(misfit / photons) if photons > 0 else math.nan}
    for name in SIMILARITIES:
        known = [one.similarity[name] for one in scans if name in one.similarity]
        if known:
            found[name] = sum(known) / len(known)
    return found


def compact_rows(scan: Scan, most: int) -> IntArray:
    """Choose the patterns of a scan that are nearest to its middle, at most so many; ascending."""
    distance = np.linalg.norm(scan.positions_px - np.median(scan.positions_px, axis=0), axis=1)
    return np.sort(np.argsort(distance, kind="stable")[:most])


def judge_scan(model: PtychoModel, scan: Scan, rows: IntArray, data: DataConfig, count_factor: float) -> ScanQuality:
    """Predict some patterns of a scan together, and hold their object against them and against what the scan holds.

    Parameters
    ----------
    model
        Network, with the optics of the scan, on any device.
    scan, rows
        Open scan, and the patterns that are predicted.
    data
        Settings of its patterns and groups.
    count_factor
        Factor from the file's counts to photons.
    """
    canvas = Canvas.around(scan.positions_px[rows], data.N)
    with torch.no_grad():
        pieces, weight_HW = _pieces(model, scan, rows, data, count_factor)
        object_HW = _object(model, pieces, weight_HW, 1 / count_factor)
        misfit, photons = torch.stack([piece.residual(model, object_HW) for piece in pieces]).sum(dim=0).tolist()
    found = Placed(object_HW.cpu().numpy(), canvas.origin_px)
    is_whole = bool(np.isfinite(found.object_).all())
    return ScanQuality(misfit, photons, _similarity(found, scan, rows) if is_whole else {})


@dataclass(frozen=True)
class _Piece:
    """Patterns that the network sees at once.

    Parameters
    ----------
    photons
        Patterns (B * G, N, N), each followed by those that it is seen together with.
    near
        Where all of them lie.
    corners_px
        Corners (C, 2) of the frames that are meant, C <= B.
    """

    photons: Tensor
    near: Neighbours
    corners_px: Tensor

    def own(self, model: PtychoModel, values: Tensor) -> Tensor:
        """Select what belongs to the patterns that are meant."""
        return values[:: model.sizes.patterns_per_sample][: len(self.corners_px)]

    def residual(self, model: PtychoModel, object_HW: Tensor) -> Tensor:
        """Squared residual, and photons; float64, shape (2,), on the CPU."""
        return residual_of_object(model, object_HW, self.corners_px, self.own(model, self.photons))


def _pieces(
    model: PtychoModel, scan: Scan, rows: IntArray, data: DataConfig, count_factor: float
) -> tuple[list[_Piece], Tensor]:
    """Read patterns, and place them on one canvas; returns the sum (H, W) of their weights, too."""
    device, dtype, sides = model.steps.device, model.steps.dtype, model.sizes.sides
    canvas = Canvas.around(scan.positions_px[rows], data.N)
    corners = torch.from_numpy(scan.positions_px - np.asarray(canvas.origin_px)).to(device)
    weight_HW = Neighbours.alone(corners[rows], canvas.shape, sides, model.patch_weight()).weight_HW
    batches, pieces = _batches(model, scan, rows, data), []
    for counts, numbers in batches:
        photons = counts.to(device).to(dtype) * count_factor
        members = batches.members(numbers.numpy())
        pieces.append(_Piece(photons, Neighbours.on(weight_HW, corners[members], sides), corners[numbers]))
    return pieces, weight_HW


def _batches(model: PtychoModel, scan: Scan, rows: IntArray, data: DataConfig) -> PatternBatches:
    """Cut the patterns into parts of one size; those that are seen together are all among them."""
    size, seen = -(-len(rows) // -(-len(rows) // _PIECE)), None
    if model.sizes.patterns_per_sample > 1:
        seen = rows[neighbor_groups(scan.positions_px[rows], data.gridsize or 1).index]
    return PatternBatches(scan, rows, size, seen)


def _object(model: PtychoModel, pieces: Sequence[_Piece], weight_HW: Tensor, photons_per_count: float) -> Tensor:
    """Object (H, W) that all stages make; as :meth:`PtychoModel.object_of`, but a piece at a time."""
    weight, (rows, columns) = model.patch_weight(), weight_HW.shape

    def stitched(make: Callable[[_Piece], Tensor]) -> Tensor:
        total = torch.zeros_like(weight_HW, dtype=model.optics.probe.dtype)
        for piece in pieces:
            corners = piece.corners_px + model.margin_px
            where = PatchGeometry.build(corners, model.output_px, (rows, columns))
            total += place_at(piece.own(model, make(piece)) * weight, where)
        return normalised(total, weight_HW)

    if not model.sizes.exchange:
        return stitched(lambda piece: model.predict(piece.photons))
    object_HW = torch.ones_like(weight_HW, dtype=model.optics.probe.dtype)

    def improved(stage: int, piece: _Piece) -> Tensor:
        patches: Tensor = model.improve(stage, piece.photons, object_HW, piece.near, photons_per_count)
        return patches

    for stage in range(len(model.networks)):
        object_HW = stitched(partial(improved, stage))
    return object_HW


def _similarity(found: Placed, scan: Scan, rows: IntArray) -> dict[str, float]:
    """Structural similarity to the object that the scan holds; empty where it holds none, or none at this place."""
    from ptycho_dist.evaluate.comparison import illumination, scanned_area

    held, origin_px, probe = scan.object_, scan.object_origin_px, scan.probe
    if held is None or origin_px is None or probe is None:
        return {}
    low = np.maximum(np.floor(np.subtract(found.origin_px, origin_px)).astype(int) - _SEAM_PX, 0)
    truth: NDArray[np.complexfloating] = held[tuple(
        slice(start, start + side + 2 * _SEAM_PX) for start, side in zip(low, found.object_.shape, strict=True)
    )]  # fmt: skip
    y, x = origin_px + low
    try:
        area = scanned_area(illumination(scan.positions_px[rows], probe, truth.shape, origin_px + low))
        metrics = compare_to_reference(found, Placed(truth, (float(y), float(x))), area)
    except ConfigError:
        return {}
    values = {name: float(getattr(metrics, name)) for name in SIMILARITIES}
    return {name: value for name, value in values.items() if math.isfinite(value)}
