"""From a folder of shards to a product file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ptycho_dist.assembly.shards import Manifest, read_manifest
from ptycho_dist.assembly.stitch import require_complete, stitch
from ptycho_dist.data.formats.product_h5 import BACKGROUND, COVERAGE, DISAGREEMENT, ProductGeometry, ProductWriter
from ptycho_dist.types import ProductMetadata, Propagation

logger = logging.getLogger(__name__)

PRODUCT_NAME = "reconstruction.h5"
"""Product of a job."""
NETWORK_PRODUCT_NAME = "network.h5"
"""Product of the network, where it is refined afterwards."""


def product_name(shard_dir: Path) -> str:
    """Name of the product that the shards of a folder are for."""
    return str(read_manifest(shard_dir).facts.get("product_name", PRODUCT_NAME))


def stitch_to_product(shard_dir: Path, path: Path) -> Path:
    """Stitch the shards of a folder tile by tile into a product file.

    Needs the folder only, so it may run later, elsewhere, in one process.

    Raises
    ------
    ShardError
        If a shard is missing, foreign or damaged; nothing is written then.
    """
    manifest = read_manifest(shard_dir)
    placed = require_complete(shard_dir, manifest)
    facts = manifest.facts
    with ProductWriter(path, _metadata(facts), manifest.canvas.shape, _geometry(manifest)) as writer:
        writer.write_probe(manifest.probe_PNN)
        writer.write_positions(manifest.positions_px, manifest.indexes)
        writer.write_losses(facts["losses"])
        if manifest.background_NN is not None:
            writer.write_extra(BACKGROUND, manifest.background_NN)
        writer.create_extra(COVERAGE, manifest.canvas.shape, "int32")
        writer.create_extra(DISAGREEMENT, manifest.canvas.shape, "float32")
        for tile in stitch(placed, manifest, int(facts["stitch_tile_px"])):
            writer.write_object_tile(tile.corner, tile.object_)
            writer.write_extra_tile(COVERAGE, tile.corner, tile.count)
            writer.write_extra_tile(DISAGREEMENT, tile.corner, tile.disagreement)
    logger.info("object of %d x %d pixels written to %s", *manifest.canvas.shape, path)
    return path


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
