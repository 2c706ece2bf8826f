"""All patterns of a scan agree on one object after each stage but the last, over all ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ptycho_dist.assembly.accumulate import add_fixed, fraction_bits
from ptycho_dist.data.batches import PatternBatches, loader_options
from ptycho_dist.data.grouping import canonical_order
from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.collectives import on_all_ranks
from ptycho_dist.distributed.overlaps import Overlaps
from ptycho_dist.distributed.sharding import local_slice, shard
from ptycho_dist.factory.payload import InferencePayload
from ptycho_dist.inference.precision import precision_context
from ptycho_dist.inference.region import region_of
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.model.neighbours import Neighbours, normalised
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.physics.patches import PatchGeometry
from ptycho_dist.progress.tracker import Progress
from ptycho_dist.types import Canvas, FloatArray, IntArray

_PIECE = 256


@dataclass(frozen=True)
class Agreed:
    """The object on which patterns have agreed so far; without one each pattern is predicted on its own.

    Parameters
    ----------
    object_HW, weight_HW
        Object and sum of the weights of all patches, on the device of the model: the rectangle that this rank's
        patterns need.
    corners_px
        float64, shape (B, 2): corners of the frames of all patterns of the scan in that rectangle; those of others may
        lie outside.
    stage
        Number of the stage that comes next.
    photons_per_count
        What one of the scaled counts stands for.
    """

    object_HW: Tensor
    weight_HW: Tensor
    corners_px: FloatArray
    stage: int
    photons_per_count: float

    def patches(self, model: PtychoModel, photons_BNN: Tensor, numbers: IntArray) -> Tensor:
        """Object patches (B, n, n) that the next stage makes of some patterns, given by their numbers."""
        corners = torch.from_numpy(self.corners_px[numbers]).to(self.object_HW.device)
        near = Neighbours.on(self.weight_HW, corners, model.sizes.sides)
        return model.improve(self.stage, photons_BNN, self.object_HW, near, self.photons_per_count)


def agree(model: PtychoModel, scan: Scan, payload: InferencePayload, context: RankContext) -> Agreed:
    """Run all stages but the last on all ranks, each on its share of the patterns.

    After each stage the weighted patches of all ranks are added up as integers, so that the object has the same bits
    on any number of ranks. Of a region as many neighbours take part as have a say in it: each stage carries what a
    pattern knows one frame further.

    Parameters
    ----------
    model
        Trained model on this rank's device, whose patches are exchanged.
    scan, payload, context
        Open scan, settings, and place of this rank.

    Raises
    ------
    ShardError
        If the network has diverged.
    """
    stages, N = len(model.networks), payload.data_config.N
    rows = region_of(payload, scan.positions_px, margin_px=(stages - 1) * (N + 1)).rows
    own = needed = _own_of(rows, scan, context)
    meant = region_of(payload, scan.positions_px).rows
    if len(meant) < len(rows):
        needed = np.union1d(own, _own_of(meant, scan, context))
    whole = Canvas.around(scan.positions_px[rows], N)
    tile = _tile(model, scan, whole, needed)
    # Whole pixels are taken off last, which is exact: all ranks have the same bits of sub-pixel parts.
    corners = (scan.positions_px - np.asarray(whole.origin_px)) - np.subtract(tile.origin_px, whole.origin_px)
    work = _Share(model, scan, payload, own, fraction_bits(payload.n_patterns), context.progress)
    join = _Join(Overlaps.of(tile, context), work.bits, model.patch_weight())
    (total,) = join.sums(lambda: work.weights(corners, tile.shape))
    agreed = Agreed(model.optics.probe.new_ones(tile.shape), total, corners, 0, 1 / payload.count_factor)
    for stage in range(stages - 1):
        real, imaginary = join.sums(partial(work.sums, agreed))
        mean = normalised(torch.complex(real, imaginary), total)
        agreed = replace(agreed, object_HW=mean, stage=stage + 1)
    return agreed


def _own_of(rows: IntArray, scan: Scan, context: RankContext) -> IntArray:
    """Give this rank's share of some patterns: neighbours in the scan."""
    order = rows[canonical_order(scan.positions_px[rows])]
    return order[local_slice(shard(len(order), context.rank, context.world))]


def _tile(model: PtychoModel, scan: Scan, whole: Canvas, own: IntArray) -> Canvas:
    """Give the rectangle of the frames that some patterns need; all where patterns are seen together with others."""
    if model.sizes.patterns_per_sample > 1:
        return whole
    return Canvas.around(scan.positions_px[own], model.N) if len(own) else Canvas(whole.origin_px, (0, 0))


def batches_of(
    model: PtychoModel, scan: Scan, rows: IntArray, payload: InferencePayload
) -> Iterator[tuple[Tensor, IntArray, IntArray]]:
    """Yield scaled photons (size * G, N, N) on the device of the model, their pattern numbers, and the rows meant."""
    execution = payload.execution_config
    size, together = execution.inference_batch_size or len(rows), model.sizes.patterns_per_sample
    batches = PatternBatches.of_groups(scan, rows, size, payload.data_config, together)
    device, dtype = next(model.parameters()).device, model.patch_weight().dtype
    for counts, some in DataLoader(batches, batch_size=None, shuffle=False, **loader_options(execution)):
        photons = counts.to(device, non_blocking=execution.pin_memory).to(dtype) * payload.count_factor
        yield photons, batches.members(np.asarray(some)), np.asarray(some)


@dataclass(frozen=True)
class _Share:
    """Patterns of this rank, the digits after the point of their sums, and where those done are reported."""

    model: PtychoModel
    scan: Scan
    payload: InferencePayload
    rows: IntArray
    bits: int
    progress: Progress

    def weights(self, corners_px: FloatArray, canvas_px: tuple[int, int]) -> Tensor:
        """Integer sum (1, H, W) of the weights of this rank's patches."""
        weight, sums = self.model.patch_weight().double().cpu(), torch.zeros(1, *canvas_px, dtype=torch.int64)
        for start in range(0, len(self.rows), _PIECE):
            corners = torch.from_numpy(corners_px[self.rows[start : start + _PIECE]])
            values = weight.expand(1, len(corners), *weight.shape)
            add_fixed(sums, values, self._geometry(corners, canvas_px), self.bits)
        return sums

    def sums(self, agreed: Agreed) -> Tensor:
        """Integer sums (2, H, W) of the weighted patches that the next stage makes: real and imaginary parts."""
        weight = self.model.patch_weight().double().cpu()
        sums = torch.zeros(2, *agreed.object_HW.shape, dtype=torch.int64)
        with torch.inference_mode(), precision_context(self.payload.execution_config, agreed.object_HW.device):
            for photons, numbers, rows in batches_of(self.model, self.scan, self.rows, self.payload):
                patches = agreed.patches(self.model, photons, numbers)[:: self.model.sizes.patterns_per_sample]
                weighted = patches[: len(rows)].cpu().to(torch.complex128) * weight
                geometry = self._geometry(torch.from_numpy(agreed.corners_px[rows]), agreed.object_HW.shape)
                add_fixed(sums, torch.stack([weighted.real, weighted.imag]), geometry, self.bits)
                self.progress.advance(len(rows))
        return sums

    def _geometry(self, corners_px: Tensor, canvas_px: tuple[int, ...]) -> PatchGeometry:
        rows, columns = canvas_px
        return PatchGeometry.build(corners_px + self.model.margin_px, self.model.output_px, (rows, columns))


@dataclass(frozen=True)
class _Join:
    """Adds up what ranks have on their rectangles.

    Parameters
    ----------
    overlaps
        Where the rectangles meet.
    bits
        Binary digits after the point of integer sums.
    like
        Type and device of the real numbers that they become.
    """

    overlaps: Overlaps
    bits: int
    like: Tensor

    def sums(self, make: Callable[[], Tensor]) -> Tensor:
        """Add integer sums of all ranks, and make them real numbers."""
        sums = on_all_ranks(make)
        self.overlaps.add(sums)
        return (sums.double() * 2.0**-self.bits).to(self.like)
