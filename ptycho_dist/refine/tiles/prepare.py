"""From a beginning to the refinement of its tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from ptycho_dist.config.refine import RefineConfig
from ptycho_dist.distributed.sharding import local_slice, shard
from ptycho_dist.launching.environment import single_rank
from ptycho_dist.refine.amplitudes import AmplitudeReader
from ptycho_dist.refine.beginning import Beginning, room_px
from ptycho_dist.refine.prepare import make_refiner
from ptycho_dist.refine.tiles.cutting import Rectangle, cut
from ptycho_dist.refine.tiles.exchange import Exchange
from ptycho_dist.refine.tiles.refiner import Common, Tile, TiledRefiner
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
    whole
        Reader of the scan at once.
    """

    patterns: Sequence[IntArray]
    readers: dict[int, AmplitudeReader]
    whole: AmplitudeReader


def cut_tiles(reader: AmplitudeReader, config: RefineConfig) -> Parts | None:
    """Cut a scan into the tiles of resolved settings; None where there is but one."""
    tiles = config.tiles or 1
    if tiles == 1:
        return None
    patterns, context = cut(reader.scan.positions_px, tiles), reader.context
    own = range(tiles)[local_slice(shard(tiles, context.rank, context.world))]
    readers = {number: replace(reader, context=single_rank(), sample=patterns[number]) for number in own}
    return Parts(patterns, readers, reader)


def tiled(beginning: Beginning, parts: Parts, loops: str) -> TiledRefiner:
    """Prepare a refinement by tiles; ``loops`` as in :func:`~ptycho_dist.refine.prepare.make_refiner`."""
    canvas, context, config = beginning.canvas, parts.whole.context, beginning.config
    positions = beginning.start.positions_px - canvas.origin_px
    around = partial(Rectangle.around, side=parts.whole.scan.header.N, room_px=room_px(config), canvas_px=canvas.shape)
    rectangles = [around(positions[patterns]) for patterns in parts.patterns]
    tiles = [_tile(beginning, parts, number, rectangles[number], loops) for number in parts.readers]
    return TiledRefiner(
        beginning=beginning,
        common=Common(*beginning.optics()),
        tiles=tiles,
        exchange=Exchange(rectangles, context.rank, context.world),
        shares=[len(patterns) / len(positions) for patterns in parts.patterns],
        make_whole=partial(make_refiner, beginning, parts.whole, loops),
    )


def _tile(beginning: Beginning, parts: Parts, number: int, rectangle: Rectangle, loops: str) -> Tile:
    patterns, config = parts.patterns[number], _config_of_tile(beginning.config, len(parts.readers))
    own = replace(beginning.some(patterns), config=config)
    refiner = make_refiner(own, parts.readers[number], loops, rectangle.on(beginning.canvas))
    return Tile(number, patterns, rectangle, refiner)


def _config_of_tile(config: RefineConfig, own_tiles: int) -> RefineConfig:
    """Share a rank's memory out among its tiles.

    Adam gets as many steps in a pass as it has of the scan at once: its steps do not grow with the patterns.
    """
    config = replace(config, memory_GiB=config.memory_GiB / own_tiles)
    if config.method != "gradient":
        return config
    return replace(config, batch_size=max(1, round((config.batch_size or 1) / (config.tiles or 1))))
