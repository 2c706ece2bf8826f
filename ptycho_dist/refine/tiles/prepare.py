"""From a refinement of a scan at once to that of its tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ptycho_dist.config.refine import RefineConfig
from ptycho_dist.distributed.sharding import local_slice, shard
from ptycho_dist.launching.environment import single_rank
from ptycho_dist.refine.amplitudes import AmplitudeReader
from ptycho_dist.refine.batching import make_batching
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.initial import room_px
from ptycho_dist.refine.iteration import Refiner
from ptycho_dist.refine.methods import make_method
from ptycho_dist.refine.tiles.cutting import Rectangle, cut
from ptycho_dist.refine.tiles.exchange import Exchange
from ptycho_dist.refine.tiles.refiner import Tile, TiledRefiner
from ptycho_dist.types import IntArray


@dataclass(frozen=True)
class Parts:
    """Tiles of a scan, and what reads those of this rank.

    Parameters
    ----------
    patterns
        Pattern numbers of each of all tiles, int64, ascending.
    readers
        Readers of this rank's tiles, by number.
    memory_bytes
        Room for the amplitudes of one tile.
    """

    patterns: Sequence[IntArray]
    readers: dict[int, AmplitudeReader]
    memory_bytes: int


def cut_tiles(reader: AmplitudeReader, config: RefineConfig) -> Parts | None:
    """Cut a scan into the tiles of resolved settings; None where there is but one."""
    tiles = config.tiles
    if tiles == 1:
        return None
    patterns, context = cut(reader.scan.positions_px, tiles), reader.context
    own = range(tiles)[local_slice(shard(tiles, context.rank, context.world))]
    readers = {number: replace(reader, context=single_rank(), sample=patterns[number]) for number in own}
    return Parts(patterns, readers, int(config.memory_GiB * 2**30 / max(1, len(own))))


def tiled(whole: Refiner, parts: Parts) -> TiledRefiner:
    """Refine a whole by tiles."""
    estimate, context = whole.estimate, whole.reader.context
    positions, room = estimate.positions_px.numpy(), room_px(whole.config)
    rectangles = [
        Rectangle.around(positions[patterns], estimate.N, room, estimate.canvas_px) for patterns in parts.patterns
    ]
    tiles = [_tile(whole, parts, number, rectangles[number]) for number in parts.readers]
    shares = [len(patterns) / len(positions) for patterns in parts.patterns]
    return TiledRefiner(whole, tiles, Exchange(rectangles, context.rank, context.world), shares)


def _tile(whole: Refiner, parts: Parts, number: int, rectangle: Rectangle) -> Tile:
    patterns, config = parts.patterns[number], _config_of_tile(whole.config)
    own = _part(whole.estimate, patterns, rectangle)
    refiner = replace(
        whole,
        config=config,
        estimate=own,
        method=make_method(config, own),
        batching=make_batching(config, own),
        reader=parts.readers[number],
        memory_bytes=parts.memory_bytes,
    )
    return Tile(number, patterns, rectangle, refiner)


def _config_of_tile(config: RefineConfig) -> RefineConfig:
    """Give Adam as many steps in a pass as it has of the scan at once: its steps do not grow with the patterns."""
    if config.method != "gradient":
        return config
    return replace(config, batch_size=max(1, round((config.batch_size or 1) / config.tiles)))


def _part(whole: Estimate, patterns: IntArray, rectangle: Rectangle) -> Estimate:
    """Copy what a tile has of an estimate."""
    return replace(
        whole,
        object_HW=whole.object_HW[rectangle.slices].clone(),
        probe_PNN=whole.probe_PNN.clone(),
        positions_px=whole.positions_px[patterns] - torch.tensor(rectangle.low, dtype=torch.float64),
        flux_B=whole.flux_B[patterns],
        background_NN=None if whole.background_NN is None else whole.background_NN.clone(),
    )
