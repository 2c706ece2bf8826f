"""The work of one rank in a prediction: its patches, their phases, its shard file."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.assembly.accumulate import FixedPointSum, fraction_bits
from ptycho_dist.assembly.shards import write_phases, write_shard
from ptycho_dist.assembly.synchronise import overlap_pairs, solve_phases
from ptycho_dist.data.grouping import canonical_order
from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.sharding import local_slice, shard
from ptycho_dist.factory.payload import InferencePayload
from ptycho_dist.inference.exchange import Agreed
from ptycho_dist.inference.patch_store import PatchFile, ShardPatches
from ptycho_dist.inference.region import patch_side, region_of
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.types import Canvas, FloatArray


class ShardWork:
    """Predicts a rank's share of the patterns, and the neighbours it overlaps; a context manager.

    Parameters
    ----------
    model
        Trained model on this rank's device.
    scan
        Open scan.
    payload
        Settings.
    context
        Place of this rank.
    folder
        Folder of the shard files.
    agreed
        What the stages before the last have agreed on, phases included; None where patterns are predicted alone.
    """

    def __init__(
        self,
        model: PtychoModel,
        scan: Scan,
        payload: InferencePayload,
        context: RankContext,
        folder: Path,
        agreed: Agreed | None = None,
    ) -> None:
        self._payload, self._folder = payload, folder
        region = region_of(payload, scan.positions_px)
        positions_px = scan.positions_px[region.rows]
        self._share = shard(len(region.rows), context.rank, context.world)
        order = region.rows[canonical_order(positions_px)]
        self._own = order[local_slice(self._share)]
        self._origin = region.canvas.origin_px
        self._pairs = np.empty((0, 2), np.int64)
        if payload.inference_config.synchronise_phases and agreed is None:
            self._pairs = region.rows[overlap_pairs(positions_px, patch_side(payload))]
        self._mine = self._measured_here(order)
        beside = np.setdiff1d(self._pairs[self._mine], self._own)
        rows = np.concatenate([self._own, beside])
        path = folder / f"patches-{context.rank:05d}-of-{context.world:05d}.npy"
        self._patches = ShardPatches(model, scan, rows, payload, PatchFile(path, context.progress), agreed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._patches.close()

    def products(self) -> NDArray[np.complex128]:
        """Inner products of all overlapping pairs (E,); zero for pairs that other ranks measure."""
        products = np.zeros(len(self._pairs), np.complex128)
        products[self._mine] = self._patches.products(self._pairs[self._mine])
        return products

    def solve(self, products: NDArray[np.complex128]) -> FloatArray:
        """Phases (B,) in radians of all patterns, from the products of all ranks added up; kept beside the shards."""
        phases = solve_phases(self._payload.n_patterns, self._pairs, products)
        write_phases(self._folder, self._payload.result_fingerprint(), phases)
        return phases

    def write(self, phases: FloatArray) -> Path:
        """Sum the patches of this rank's share, turned by their phases, and write the shard file."""
        total = self._patches.total(self._own, phases) if len(self._own) else self._nothing()
        fingerprint = self._payload.result_fingerprint()
        path = write_shard(self._folder, self._share, fingerprint, total.tile, total.arrays())
        self._patches.discard()
        return path

    def _measured_here(self, order: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which pairs this rank measures: those whose first pattern it owns."""
        place_in_order = np.full(self._payload.n_patterns, -1)
        place_in_order[order] = np.arange(len(order))
        first = place_in_order[self._pairs[:, 0]]
        return np.asarray((first >= self._share.start) & (first < self._share.stop))

    def _nothing(self) -> FixedPointSum:
        return FixedPointSum(Canvas(self._origin, (0, 0)), fraction_bits(self._payload.n_patterns))
