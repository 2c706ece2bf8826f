"""From a folder of shards to a product file."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptycho_dist.assembly.shards import Manifest, read_manifest
from ptycho_dist.assembly.stitch import Stitching, require_complete
from ptycho_dist.data.formats.product_h5 import (
    BACKGROUND,
    COVERAGE,
    DISAGREEMENT,
    ProductGeometry,
    ProductWriter,
    read_product_metadata,
)
from ptycho_dist.data.formats.product_tiles import OBJECT, UnfinishedProduct
from ptycho_dist.distributed.collectives import from_rank_0, on_all_ranks
from ptycho_dist.errors import DataFormatError
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.progress.tracker import Progress
from ptycho_dist.run_folder import NETWORK, PRODUCT
from ptycho_dist.types import ProductMetadata, Propagation

logger = logging.getLogger(__name__)

PRODUCT_NAME = PRODUCT
"""Product of a job."""
NETWORK_PRODUCT_NAME = NETWORK
"""Product of the network, where it is refined afterwards."""


def product_name(shard_dir: Path) -> str:
    """Name of the product that the shards of a folder are for."""
    return str(read_manifest(shard_dir).facts.get("product_name", PRODUCT_NAME))


def is_stitched_from(path: Path, shard_dir: Path) -> bool:
    """Tell whether a file is the product that the shards of a folder give.

    Raises
    ------
    ShardError
        If the folder has no manifest that can be read.
    """
    if not path.is_file():
        return False
    try:
        found = read_product_metadata(path).provenance.get("result_fingerprint")
    except DataFormatError:
        return False
    return found is not None and found == read_manifest(shard_dir).facts.get("result_fingerprint")


@dataclass(frozen=True)
class StitchWork:
    """A product that is yet to be stitched, by one process or by all ranks together.

    Parameters
    ----------
    stitching
        Gives the tiles.
    product
        Takes them.
    """

    stitching: Stitching
    product: UnfinishedProduct

    @classmethod
    def begin(cls, shard_dir: Path, path: Path) -> StitchWork:
        """Write all of a product but what lies on the object's canvas.

        Raises
        ------
        ShardError
            If a shard is missing, foreign or damaged; nothing is written then.
        """
        manifest = read_manifest(shard_dir)
        placed, facts = require_complete(shard_dir, manifest), manifest.facts
        with ProductWriter(path, _metadata(facts), manifest.canvas.shape, _geometry(manifest)) as writer:
            writer.write_probe(manifest.probe_PNN)
            writer.write_positions(manifest.positions_px, manifest.indexes)
            writer.write_losses(facts["losses"])
            if manifest.background_NN is not None:
                writer.write_extra(BACKGROUND, manifest.background_NN)
            product = writer.leave_tiles_open({COVERAGE: "int32", DISAGREEMENT: "float32"})
        return cls(Stitching(placed, manifest.canvas, manifest.bits, int(facts["stitch_tile_px"])), product)

    def write(self, progress: Progress, rank: int = 0, world: int = 1) -> None:
        """Stitch and write the tiles of a rank, and report each."""
        progress.expect(self.stitching.count(rank, world), "tiles")
        with self.product.tiles() as writer:
            for tile in self.stitching.tiles(rank, world):
                writer.write(OBJECT, tile.corner, tile.object_)
                writer.write(COVERAGE, tile.corner, tile.count)
                writer.write(DISAGREEMENT, tile.corner, tile.disagreement)
                progress.advance(1, patterns=0)

    def end(self) -> Path:
        """Let the product appear, when all tiles are written."""
        self.product.publish()
        logger.info("object of %d x %d pixels written to %s", *self.stitching.canvas.shape, self.product.path)
        return self.product.path


def stitch_to_product(shard_dir: Path, path: Path, progress: Progress | None = None) -> Path:
    """Stitch the shards of a folder tile by tile into a product file.

    Needs the folder only, so it may run later, elsewhere, in one process.

    Raises
    ------
    ShardError
        If a shard is missing, foreign or damaged; nothing is written then.
    """
    work = StitchWork.begin(shard_dir, path)
    try:
        work.write(progress or Progress())
        return work.end()
    finally:
        work.product.discard()


def stitch_on_ranks(shard_dir: Path, path: Path, context: RankContext) -> Path:
    """Do the same on all ranks together, each its own tiles; the file is the same on any number of them.

    Raises
    ------
    ShardError
        On rank 0, if a shard is missing, foreign or damaged; nothing is written then.
    OtherRankError
        Where another rank has failed; what was written is removed.
    """
    work = from_rank_0(lambda: StitchWork.begin(shard_dir, path))
    try:
        on_all_ranks(lambda: work.write(context.progress, context.rank, context.world))
        return from_rank_0(work.end)
    finally:
        if context.rank == 0:
            work.product.discard()


def _metadata(facts: dict[str, Any]) -> ProductMetadata:
    return ProductMetadata(
        name=facts["name"],
        comments="Predicted by a network and stitched by ptycho_dist.",
        detector_object_distance_m=facts["detector_distance_m"],
        probe_energy_eV=facts["energy_eV"],
        propagation=Propagation(**facts.get("propagation", {})),
        provenance={name: facts[name] for name in ("payload", "training", "result_fingerprint", "conversions")}
        | facts.get("probe", {}),
    )


def _geometry(manifest: Manifest) -> ProductGeometry:
    y, x = manifest.canvas.origin_px
    return ProductGeometry(
        N=manifest.N, pixel_size_m=manifest.facts["pixel_size_m"], object_origin_px=(float(y), float(x))
    )
