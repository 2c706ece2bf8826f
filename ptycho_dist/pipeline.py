"""What the commands run: each step on all ranks, in one process group."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptycho_dist.config.request import RunRequest
from ptycho_dist.data.scan import Scan, ScanOptions, open_scan
from ptycho_dist.distributed.agreement import require_agreement
from ptycho_dist.distributed.collectives import all_gather_object, process_group
from ptycho_dist.distributed.devices import process_group_backend
from ptycho_dist.distributed.environment import RankContext, detect
from ptycho_dist.evaluate.run import evaluate_product
from ptycho_dist.factory.devices import require_launch
from ptycho_dist.factory.inference import create_inference_payload
from ptycho_dist.factory.payload import InferencePayload, TrainingPayload
from ptycho_dist.factory.settings import scan_options
from ptycho_dist.factory.training import create_training_payload
from ptycho_dist.inference.product import stitch_to_product
from ptycho_dist.inference.run import PRODUCT_NAME, InferenceResult, run_inference
from ptycho_dist.training.run import TrainingResult, run_training

logger = logging.getLogger(__name__)


def run_train(request: RunRequest) -> TrainingResult:
    """Train on all ranks; rank 0 writes the bundle."""
    context, payload = detect(os.environ), _training_payload(request)
    with _ranks(payload, context), _scan_of(payload) as scan:
        return run_training(payload, context, scan)


def run_infer(request: RunRequest) -> dict[str, Any]:
    """Predict on all ranks, stitch on rank 0, evaluate; returns the metrics."""
    context, payload = detect(os.environ), _inference_payload(request, request.model_path)
    with _ranks(payload, context), _scan_of(payload) as scan:
        return _predict_and_evaluate(payload, context, scan, request)


def run_reconstruct(request: RunRequest) -> dict[str, Any]:
    """Train, predict, stitch and evaluate, in one launch; returns the metrics."""
    context, payload = detect(os.environ), _training_payload(request)
    started = time.monotonic()
    with _ranks(payload, context), _scan_of(payload) as scan:
        trained = run_training(payload, context, scan)
        facts = {"training_s": time.monotonic() - started, "training_patterns_per_s": trained.patterns_per_s}
        inference = _inference_payload(request, trained.bundle_path)
        require_agreement(inference.to_dict(), all_gather_object)
        return _predict_and_evaluate(inference, context, scan, request, facts)


def run_stitch(shard_dir: Path) -> Path:
    """Stitch a folder of shards, in this process alone; the product goes beside the folder."""
    folder = shard_dir.resolve()
    return stitch_to_product(folder, folder.parent / PRODUCT_NAME)


def run_evaluate(request: RunRequest) -> dict[str, Any]:
    """Metrics and pictures of a product, in this process alone."""
    product = Path(str(request.product))
    output_dir = request.output_dir or product.parent
    if request.scan is None:
        return evaluate_product(product, None, output_dir, reference=request.reference)
    options = {name.partition(".")[2]: value for name, value in request.overrides.items() if name in _SCAN_OPTIONS}
    with open_scan(request.scan, ScanOptions(**options)) as scan:
        return evaluate_product(product, scan, output_dir, reference=request.reference)


_SCAN_OPTIONS = tuple(f"data.{name}" for name in ScanOptions.__dataclass_fields__)


def _predict_and_evaluate(
    payload: InferencePayload,
    context: RankContext,
    scan: Scan,
    request: RunRequest,
    facts: dict[str, Any] | None = None,
) -> dict[str, Any]:
    result: InferenceResult = run_inference(payload, context, scan)
    seconds = result.seconds
    speed = {
        "ranks": context.world,
        "prediction_s": seconds["prediction"],
        "stitching_s": seconds["stitching"],
        "prediction_patterns_per_s": payload.n_patterns / seconds["prediction"],
    }
    return evaluate_product(
        result.product_path,
        scan,
        payload.inference_config.output_dir,
        reference=request.reference,
        place=(context.rank, context.world),
        facts={**(facts or {}), **speed},
    )


def _training_payload(request: RunRequest) -> TrainingPayload:
    return create_training_payload(
        str(request.scan), str(request.output_dir), request.training_overrides(), config_file=request.config_file
    )


def _inference_payload(request: RunRequest, model_path: Path | None) -> InferencePayload:
    return create_inference_payload(
        str(model_path),
        str(request.scan),
        str(request.output_dir),
        request.inference_overrides(),
        config_file=request.config_file,
    )


@contextmanager
def _ranks(payload: TrainingPayload | InferencePayload, context: RankContext) -> Iterator[None]:
    """Open the process group, and prove that all ranks hold the same payload."""
    execution = payload.execution_config
    require_launch(execution, context)
    backend = process_group_backend(execution.accelerator)
    with process_group(context, backend, execution.timeout_s):
        require_agreement(payload.to_dict(), all_gather_object)
        logger.info(
            "%d rank(s), launcher %s, payload %s", context.world, context.launcher, payload.fingerprint()[:12]
        )  # fmt: skip
        yield


@contextmanager
def _scan_of(payload: TrainingPayload | InferencePayload) -> Iterator[Scan]:
    path = (
        payload.training_config.train_data_file
        if isinstance(payload, TrainingPayload)
        else payload.inference_config.test_data_file
    )
    with open_scan(path, scan_options(payload.data_config)) as scan:
        yield scan
