"""Predict in shards on all ranks; rank 0 stitches them."""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ptycho_dist.assembly.accumulate import Canvas, FixedPointSum, fraction_bits
from ptycho_dist.assembly.shards import Manifest, write_manifest, write_shard
from ptycho_dist.bundle import load_bundle
from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.collectives import barrier
from ptycho_dist.distributed.environment import RankContext
from ptycho_dist.distributed.layout import local_slice, shard
from ptycho_dist.factory.payload import InferencePayload
from ptycho_dist.inference.predict import canonical_order, place_model, predict_shard
from ptycho_dist.inference.product import stitch_to_product
from ptycho_dist.model.build import empty_model
from ptycho_dist.model.ptycho_model import PtychoModel

logger = logging.getLogger(__name__)

SHARD_FOLDER = "shards"
PRODUCT_NAME = "reconstruction.h5"


@dataclass(frozen=True)
class InferenceResult:
    """What a prediction leaves.

    Parameters
    ----------
    product_path
        The stitched reconstruction.
    seconds
        Duration of prediction (all ranks) and of stitching.
    """

    product_path: Path
    seconds: dict[str, float]


def run_inference(payload: InferencePayload, context: RankContext, scan: Scan) -> InferenceResult:
    """Predict this rank's shard, and stitch all of them on rank 0."""
    started = time.monotonic()
    folder = payload.inference_config.output_dir / SHARD_FOLDER
    model, trained = load_model(payload)
    if context.rank == 0:
        shutil.rmtree(folder, ignore_errors=True)
        write_manifest(folder, _manifest(payload, context, scan, model, trained))
    barrier()
    _predict(payload, context, scan, place_model(model, payload.execution_config, context.local_rank))
    barrier()
    predicted = time.monotonic()
    path = payload.inference_config.output_dir / PRODUCT_NAME
    if context.rank == 0:
        stitch_to_product(folder, path)
    barrier()
    seconds = {"prediction": predicted - started, "stitching": time.monotonic() - predicted}
    return InferenceResult(path, seconds)


def load_model(payload: InferencePayload) -> tuple[PtychoModel, dict[str, Any]]:
    """Trained model of the payload's bundle, and all that the bundle says of its training."""
    bundle = load_bundle(payload.inference_config.model_path)
    model = empty_model(payload.data_config, payload.model_config, has_mask="mask" in bundle.state)
    model.load_state_dict(bundle.state)
    return model, bundle.payload_dict


def _predict(payload: InferencePayload, context: RankContext, scan: Scan, model: PtychoModel) -> None:
    share = shard(payload.n_patterns, context.rank, context.world)
    order = canonical_order(scan.positions_px)[local_slice(share)]
    total = predict_shard(model, scan, order, payload) or _nothing(payload, scan)
    folder = payload.inference_config.output_dir / SHARD_FOLDER
    write_shard(folder, share, payload.result_fingerprint(), total.tile, total.arrays())


def _nothing(payload: InferencePayload, scan: Scan) -> FixedPointSum:
    origin = Canvas.around(scan.positions_px, payload.data_config.N).origin_px
    return FixedPointSum(Canvas(origin, (0, 0)), fraction_bits(payload.n_patterns))


def _manifest(
    payload: InferencePayload, context: RankContext, scan: Scan, model: PtychoModel, trained: dict[str, Any]
) -> Manifest:
    data = payload.data_config
    factor = float(data.nphotons or payload.mean_counts) / payload.mean_counts
    probe = model.optics.scaled_probe / factor**0.5
    header = scan.header
    return Manifest(
        fingerprint=payload.result_fingerprint(),
        world=context.world,
        n_patterns=payload.n_patterns,
        N=data.N,
        canvas=Canvas.around(scan.positions_px, data.N),
        bits=fraction_bits(payload.n_patterns),
        probe_PNN=probe.detach().to(torch.complex64).cpu().numpy(),
        positions_px=scan.positions_px,
        facts={
            "name": header.path.stem,
            "pixel_size_m": header.pixel_size_m,
            "energy_eV": header.energy_eV,
            "detector_distance_m": header.detector_distance_m,
            "losses": trained.get("history", {}).get("train_loss", []),
            "stitch_tile_px": payload.inference_config.stitch_tile_px,
            "payload": payload.to_dict(),
            "training": trained.get("training", {}),
            "result_fingerprint": payload.result_fingerprint(),
            "conversions": list(header.conversions),
        },
    )
