"""Add the shards of all ranks up to one object, tile by tile."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.assembly import shards
from ptycho_dist.assembly.accumulate import disagreement, normalise
from ptycho_dist.assembly.shards import Manifest, ShardFile
from ptycho_dist.distributed.sharding import shard
from ptycho_dist.errors import ShardError
from ptycho_dist.types import Canvas, IntArray, Shard


@dataclass(frozen=True)
class ObjectTile:
    """A rectangle of the stitched object.

    Parameters
    ----------
    corner
        Row and column of its first pixel in the object.
    object_
        complex64, mean of the patches; 1 where there is none.
    count
        int32, patches that cover each pixel.
    disagreement
        float32, as :func:`~ptycho_dist.assembly.accumulate.disagreement`.
    """

    corner: tuple[int, int]
    object_: NDArray[np.complex64]
    count: NDArray[np.int32]
    disagreement: NDArray[np.float32]


@dataclass(frozen=True)
class PlacedShards:
    """Shard files in rank order, and the rectangles that they cover.

    Parameters
    ----------
    paths
        Files of the shards.
    corners_px
        int64, shape (R, 2): first pixel of each, in the frame of the positions.
    shapes
        int64, shape (R, 2): rows and columns of each.
    """

    paths: tuple[Path, ...]
    corners_px: IntArray
    shapes: IntArray

    def on(self, tile: Canvas) -> list[Path]:
        """Select those that have a part on a tile; no file is opened for it."""
        low = np.maximum(self.corners_px, tile.corner)
        high = np.minimum(self.corners_px + self.shapes, np.add(tile.corner, tile.shape))
        return [self.paths[rank] for rank in np.flatnonzero((low < high).all(axis=1))]


def require_complete(folder: Path, manifest: Manifest) -> PlacedShards:
    """Check that all shards of a prediction are there and belong to it; each is opened once.

    Returns
    -------
    PlacedShards
        What :class:`Stitching` needs of them.

    Raises
    ------
    ShardError
        Naming the shards that are missing, foreign or damaged.
    """
    paths = [shards.shard_path(folder, rank, manifest.world) for rank in range(manifest.world)]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        msg = (
            f"{folder} lacks {len(missing)} of {manifest.world} shards: {', '.join(missing[:8])}; expected one for "
            "each rank. Predict again; nothing was stitched."
        )
        raise ShardError(msg)
    corners, shapes = np.empty((len(paths), 2), np.int64), np.empty((len(paths), 2), np.int64)
    for rank, path in enumerate(paths):
        with shards.open_checked(path) as file:
            _require_own(path, file, rank, manifest)
            corners[rank], shapes[rank] = shards.shard_origin(file), file["real"].shape
    return PlacedShards(tuple(paths), corners, shapes)


@dataclass(frozen=True)
class Stitching:
    """What is needed to stitch any tile of an object; small enough to be sent to every rank.

    Parameters
    ----------
    placed
        Complete shards, of :func:`require_complete`.
    canvas
        Rectangle of the object in the frame of the positions.
    bits
        Binary digits after the point of the sums.
    tile_px
        Largest side of a tile in pixels.
    """

    placed: PlacedShards
    canvas: Canvas
    bits: int
    tile_px: int

    def tiles(self, rank: int = 0, world: int = 1) -> Iterator[ObjectTile]:
        """Yield the tiles of a rank; those of all ranks make up the object.

        Memory is that of one tile, whatever the scan; one shard is open at a time, however many there are, and for a
        tile only those that have a part on it.
        """
        own = self._own(rank, world)
        for tile in islice(_tiles(self.canvas, self.tile_px), own.start, own.stop):
            yield _stitch_tile(self.placed.on(tile), tile, self)

    def count(self, rank: int = 0, world: int = 1) -> int:
        """Count the tiles of a rank."""
        own = self._own(rank, world)
        return own.stop - own.start

    def _own(self, rank: int, world: int) -> Shard:
        return shard(_count_tiles(self.canvas, self.tile_px), rank, world)


def stitch(placed: PlacedShards, manifest: Manifest, tile_px: int) -> Iterator[ObjectTile]:
    """Yield all tiles of an object, in one process; see :class:`Stitching`."""
    return Stitching(placed, manifest.canvas, manifest.bits, tile_px).tiles()


def _count_tiles(canvas: Canvas, tile_px: int) -> int:
    rows, columns = canvas.shape
    return math.ceil(rows / tile_px) * math.ceil(columns / tile_px)


def _tiles(canvas: Canvas, tile_px: int) -> Iterator[Canvas]:
    rows, columns = canvas.shape
    for top in range(0, rows, tile_px):
        for left in range(0, columns, tile_px):
            origin = (canvas.corner[0] + top, canvas.corner[1] + left)
            yield Canvas(origin, (min(tile_px, rows - top), min(tile_px, columns - left)))


def _stitch_tile(paths: Sequence[Path], tile: Canvas, stitching: Stitching) -> ObjectTile:
    canvas = stitching.canvas
    sums = {name: np.zeros(tile.shape, np.int64) for name in shards.SUMS}
    for path in paths:
        with shards.open_checked(path) as file:
            _add_overlap(file, tile, sums)
    corner = (tile.corner[0] - canvas.corner[0], tile.corner[1] - canvas.corner[1])
    mean = normalise(sums["real"], sums["imag"], sums["weight"])
    return ObjectTile(corner, mean, sums["count"].astype(np.int32), disagreement(sums, stitching.bits))


def _add_overlap(file: ShardFile, tile: Canvas, sums: dict[str, NDArray[np.int64]]) -> None:
    """Add the part of a shard that lies on the tile."""
    rows, columns = (
        _overlap(shards.shard_origin(file)[axis], file["real"].shape[axis], tile.corner[axis], tile.shape[axis])
        for axis in (0, 1)
    )
    if rows is None or columns is None:
        return
    for name in shards.SUMS:
        sums[name][rows[1], columns[1]] += file[name][rows[0], columns[0]]


def _overlap(shard_start: int, shard_size: int, tile_start: int, tile_size: int) -> tuple[slice, slice] | None:
    """Slices of a shard and of a tile where they meet along one axis."""
    start = max(shard_start, tile_start)
    stop = min(shard_start + shard_size, tile_start + tile_size)
    if start >= stop:
        return None
    return slice(start - shard_start, stop - shard_start), slice(start - tile_start, stop - tile_start)


def _require_own(path: Path, file: ShardFile, rank: int, manifest: Manifest) -> None:
    found, expected = str(file.attrs["fingerprint"]), manifest.fingerprint
    if found != expected:
        msg = (
            f"{path} is of another prediction (fingerprint {found[:12]}, expected {expected[:12]}): another scan, "
            "model or setting. Predict into an empty folder, or remove the foreign shard; nothing was stitched."
        )
        raise ShardError(msg)
    owned, own = shards.shard_range(file), shard(manifest.n_patterns, rank, manifest.world)
    if owned != own:
        msg = f"{path} holds {owned}; expected {own}. Predict this shard again; nothing was stitched."
        raise ShardError(msg)
