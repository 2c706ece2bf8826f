"""Predict in shards on all ranks, and stitch them on all ranks."""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho_dist.assembly.accumulate import fraction_bits
from ptycho_dist.assembly.shards import (
    Manifest,
    damage_of,
    is_shard_folder,
    read_manifest,
    read_phases,
    write_manifest,
)
from ptycho_dist.bundle import Bundle, load_bundle
from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.collectives import all_gather_object, all_reduce_sum, from_rank_0, on_all_ranks
from ptycho_dist.distributed.devices import keep_freed_memory
from ptycho_dist.distributed.sharding import shard
from ptycho_dist.errors import BundleError, DataFormatError
from ptycho_dist.factory.payload import InferencePayload
from ptycho_dist.inference.exchange import Agreed, agree
from ptycho_dist.inference.found_probe import FoundProbe, forget_found_probe
from ptycho_dist.inference.patch_store import place_model
from ptycho_dist.inference.product import PRODUCT_NAME, stitch_on_ranks
from ptycho_dist.inference.rank_work import ShardWork
from ptycho_dist.inference.region import region_of
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.model.build import build_model, empty_model, load_network
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.physics.propagators import propagation_of
from ptycho_dist.types import FloatArray

logger = logging.getLogger(__name__)

SHARD_FOLDER = "shards"
PREDICTION, STITCHING = "prediction", "stitching"
"""Names of stages."""


@dataclass(frozen=True)
class InferenceResult:
    """What a prediction leaves.

    Parameters
    ----------
    product_path
        The stitched reconstruction.
    seconds
        Duration of prediction (all ranks) and of stitching.
    n_patterns
        Patterns that were predicted.
    """

    product_path: Path
    seconds: dict[str, float]
    n_patterns: int


def run_inference(
    payload: InferencePayload,
    context: RankContext,
    scan: Scan,
    name: str = PRODUCT_NAME,
    *,
    found: FoundProbe | None = None,
    resume: bool = False,
) -> InferenceResult:
    """Predict this rank's shard, and stitch this rank's tiles of the object.

    Parameters
    ----------
    payload, context, scan
        Settings, place of this rank, and the open scan.
    name
        File name of the product, in the output folder.
    found
        The probe to predict with; that of bundle or scan where not given.
    resume
        Keep the whole shards of an unfinished run of the same prediction on as many ranks.
    """
    keep_freed_memory()
    started = time.monotonic()
    folder = payload.inference_config.output_dir / SHARD_FOLDER
    model, trained = on_all_ranks(lambda: load_model(payload, scan))
    about_probe: dict[str, Any] = {}
    if found is not None:
        found.give_to(model)
        about_probe = found.facts()
    region = region_of(payload, scan.positions_px)

    def prepare() -> None:
        manifest = _manifest(payload, context, scan, model, trained)
        _prepare(
            folder,
            replace(manifest, facts=manifest.facts | {"product_name": name, "probe": about_probe}),
            resume=resume,
        )

    from_rank_0(prepare)
    missing = _missing_shards(folder, payload, context, len(region.rows))
    if missing:
        placed = place_model(model, payload.execution_config, context.local_rank)
        with context.progress.stage(PREDICTION, is_shared=False):
            own = shard(len(region.rows), context.rank, context.world)
            passes = len(placed.networks) if placed.sizes.exchange else 1
            context.progress.expect(passes * (own.stop - own.start), "patterns")
            _predict(payload, context, scan, placed, context.rank in missing)
    predicted = time.monotonic()
    path = payload.inference_config.output_dir / name
    with context.progress.stage(STITCHING, is_shared=False):
        stitch_on_ranks(folder, path, context)
    from_rank_0(lambda: _forget_intermediates(folder, payload.output_dir))
    seconds = {"prediction": predicted - started, "stitching": time.monotonic() - predicted}
    return InferenceResult(path, seconds, len(region.rows))


def _forget_intermediates(folder: Path, output_dir: Path) -> None:
    for left in folder.glob("patches-*"):
        left.unlink()
    forget_found_probe(output_dir)


def _prepare(folder: Path, manifest: Manifest, *, resume: bool) -> None:
    """Make the folder of shards; what is not of this prediction goes."""
    if not (resume and _is_of_this_prediction(folder, manifest)):
        shutil.rmtree(folder, ignore_errors=True)
        write_manifest(folder, manifest)


def _is_of_this_prediction(folder: Path, manifest: Manifest) -> bool:
    if not is_shard_folder(folder):
        return False
    found = read_manifest(folder)
    return (found.fingerprint, found.world) == (manifest.fingerprint, manifest.world)


def _missing_shards(folder: Path, payload: InferencePayload, context: RankContext, n_patterns: int) -> set[int]:
    """Ranks whose shard is still to be made; the same on every rank."""
    own = shard(n_patterns, context.rank, context.world)
    damage = on_all_ranks(lambda: damage_of(folder, own, payload.result_fingerprint()))
    missing = {rank for rank, text in enumerate(all_gather_object(damage)) if text}
    if len(missing) < context.world:
        named = ", ".join(str(rank) for rank in sorted(missing)) or "none"
        logger.info("shards of an unfinished run are kept; still to be made: %s of %d", named, context.world)
    return missing


def load_model(payload: InferencePayload, scan: Scan) -> tuple[PtychoModel, dict[str, Any]]:
    """Trained model of the payload's bundle, and all that the bundle says of its training.

    Its probe is that of the training, or the one supplied with the scan, as ``inference.probe_from`` says.

    Raises
    ------
    BundleError
        If the weights are not those of the network that the payload describes.
    DataFormatError
        If the probe is to be that of the scan, and it has none.
    """
    path = payload.inference_config.model_path
    bundle = load_bundle(path)
    try:
        make = _model_of_scan if _takes_scan(payload) else _model_of_bundle
        model = make(payload, bundle, scan)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        msg = (
            f"the weights of bundle {path} do not fit network {payload.model_config.architecture!r} of this version "
            f"({first}); expected weights of the same network. Use the version that wrote the bundle, or train again."
        )
        raise BundleError(msg) from error
    return model, bundle.payload_dict


def _takes_scan(payload: InferencePayload) -> bool:
    return payload.inference_config.probe_from == "scan"


def _model_of_bundle(payload: InferencePayload, bundle: Bundle, scan: Scan) -> PtychoModel:
    propagation = propagation_of(payload.data_config, scan.header)
    has_mask = "mask" in bundle.state
    model = empty_model(payload.data_config, payload.model_config, has_mask=has_mask, propagation=propagation)
    model.load_state_dict(bundle.state)
    return model


def _model_of_scan(payload: InferencePayload, bundle: Bundle, scan: Scan) -> PtychoModel:
    """Build the trained network around the probe and mask of the scan."""
    if scan.probe is None:
        msg = f"{scan.header.path} holds no probe to predict with; expected one. Add it to the scan file."
        raise DataFormatError(msg)
    mask, probe_mask = (None if one is None else torch.from_numpy(one) for one in (scan.mask, scan.probe_mask))
    probe, propagation = torch.from_numpy(scan.probe), propagation_of(payload.data_config, scan.header)
    model = build_model(payload.data_config, payload.model_config, probe, mask, probe_mask, propagation)
    load_network(model, bundle.state)
    return model


def _predict(payload: InferencePayload, context: RankContext, scan: Scan, model: PtychoModel, is_missing: bool) -> None:
    """Make this rank's shard if it is missing; patches and phases that an unfinished run left are used."""
    folder = payload.inference_config.output_dir / SHARD_FOLDER
    if model.sizes.exchange:
        agreed = agree(model, scan, payload, context)
        on_all_ranks(lambda: _make_agreed(payload, context, scan, (model, agreed)) if is_missing else None)
        return
    phases = from_rank_0(lambda: read_phases(folder, payload.result_fingerprint()))

    def begin() -> ShardWork:
        return ShardWork(model, scan, payload, context, folder)

    def make_alone() -> None:
        if is_missing and phases is not None:
            with begin() as work:
                work.write(phases)

    if phases is not None:
        on_all_ranks(make_alone)
        return
    with on_all_ranks(begin) as work:
        found = _find_phases(work)
        on_all_ranks(lambda: work.write(found) if is_missing else None)


def _make_agreed(
    payload: InferencePayload, context: RankContext, scan: Scan, predictor: tuple[PtychoModel, Agreed]
) -> None:
    """Make this rank's shard of an object on which all patterns have agreed; so their phases have, too."""
    model, agreed = predictor
    folder = payload.inference_config.output_dir / SHARD_FOLDER
    with ShardWork(model, scan, payload, context, folder, agreed) as work:
        work.write(np.zeros(len(scan)))


def _find_phases(work: ShardWork) -> FloatArray:
    products = _add_over_ranks(on_all_ranks(work.products))
    return from_rank_0(lambda: work.solve(products))


def _add_over_ranks(values: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Exact sum over ranks of values that are zero on all ranks but one."""
    whole = all_reduce_sum(torch.view_as_real(torch.from_numpy(values)))
    return np.asarray(torch.view_as_complex(whole).numpy())


def _manifest(
    payload: InferencePayload, context: RankContext, scan: Scan, model: PtychoModel, trained: dict[str, Any]
) -> Manifest:
    data, region = payload.data_config, region_of(payload, scan.positions_px)
    probe = model.optics.scaled_probe / payload.count_factor**0.5
    header, background = scan.header, model.optics.background
    return Manifest(
        fingerprint=payload.result_fingerprint(),
        world=context.world,
        indexes=region.rows,
        N=data.N,
        canvas=region.canvas,
        bits=fraction_bits(payload.n_patterns),
        probe_PNN=probe.detach().to(torch.complex64).cpu().numpy(),
        positions_px=scan.positions_px[region.rows],
        facts={
            "name": header.path.stem,
            "pixel_size_m": header.pixel_size_m,
            "propagation": asdict(propagation_of(data, header)),
            "energy_eV": header.energy_eV,
            "detector_distance_m": header.detector_distance_m,
            "losses": trained.get("history", {}).get("train_loss", []),
            "stitch_tile_px": payload.inference_config.stitch_tile_px,
            "payload": payload.to_dict(),
            "training": trained.get("training", {}),
            "result_fingerprint": payload.result_fingerprint(),
            "conversions": list(header.conversions),
        },
        background_NN=None
        if background is None
        else (background / payload.count_factor).detach().float().cpu().numpy(),
    )
