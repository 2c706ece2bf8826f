"""What the commands run: each step on all ranks, in one process group.

Training (Lightning) and evaluation (plotting) are imported where they are needed: many ranks need
one of them only, or none.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptycho_dist import job_marker
from ptycho_dist.bundle import BUNDLE_FOLDER
from ptycho_dist.config.precedence import CONFIG_FILE, canonicalise
from ptycho_dist.config.request import RunRequest
from ptycho_dist.config.sections import INFERENCE_SECTIONS
from ptycho_dist.data.scan import Scan, ScanOptions, open_scan
from ptycho_dist.data.scan_set import ScanSet, Source, open_source
from ptycho_dist.distributed.agreement import require_agreement
from ptycho_dist.distributed.collectives import all_gather_object, from_rank_0, process_group
from ptycho_dist.distributed.devices import process_group_backend
from ptycho_dist.doctor.run import require_healthy
from ptycho_dist.errors import ConfigError
from ptycho_dist.factory.config_file import read_config_file
from ptycho_dist.factory.devices import require_launch
from ptycho_dist.factory.inference import create_inference_payload
from ptycho_dist.factory.payload import InferencePayload, Payload, RefinePayload, TrainingPayload
from ptycho_dist.factory.refine import create_refine_payload
from ptycho_dist.factory.settings import scan_options
from ptycho_dist.factory.training import create_training_payload
from ptycho_dist.inference.product import NETWORK_PRODUCT_NAME, PRODUCT_NAME, product_name, stitch_to_product
from ptycho_dist.inference.run import InferenceResult, run_inference
from ptycho_dist.launching.environment import RankContext, detect
from ptycho_dist.launching.signals import StopSignals
from ptycho_dist.refine.progress import CsvLog, Lines, progress_bar
from ptycho_dist.refine.run import Callback, Control, run_refinement

logger = logging.getLogger(__name__)


def run_train(request: RunRequest) -> None:
    """Train on all ranks, on a scan or a set of scans; rank 0 writes the bundle."""
    context, payload = detect(os.environ), _training_payload(request)
    with _job("train", payload, context) as job:
        _train(payload, context, job)


def run_infer(request: RunRequest) -> dict[str, Any]:
    """Predict on all ranks, stitch on rank 0, evaluate; returns the metrics."""
    context, payload = detect(os.environ), _inference_payload(request, request.model_path)
    with _job("infer", payload, context) as job:
        return _predict_and_evaluate(payload, context, job, request, {})


def run_reconstruct(request: RunRequest) -> dict[str, Any]:
    """Train, predict, stitch, refine and evaluate, in one launch; returns the metrics."""
    context, payload = detect(os.environ), _training_payload(request)
    iterations = _refine_payload(request, None).refine_config.iterations  # a wrong setting is told before the training
    _require_whole(request, iterations)
    with _job("reconstruct", payload, context) as job:
        facts = _train(payload, context, job)
        inference = _inference_payload(request, job.output_dir / BUNDLE_FOLDER)
        require_agreement(inference.to_dict(), all_gather_object)
        if not iterations:
            return _predict_and_evaluate(inference, context, job, request, facts)
        network = _predict_and_evaluate(inference, context, job, request, facts, NETWORK_PRODUCT_NAME)
        refinement = _refine_payload(request, job.output_dir / NETWORK_PRODUCT_NAME)
        require_agreement(refinement.to_dict(), all_gather_object)
        told = {name: network[name] for name in (*facts, *_PREDICTION_FACTS)}
        told["network_fourier_error"] = network["fourier_error"]
        return _refine_and_evaluate(refinement, context, job, request, told)


def run_refine(request: RunRequest) -> dict[str, Any]:
    """Refine on all ranks, and evaluate; returns the metrics."""
    context, payload = detect(os.environ), _refine_payload(request, request.start)
    with _job("refine", payload, context) as job:
        return _refine_and_evaluate(payload, context, job, request, {})


def run_stitch(shard_dir: Path) -> Path:
    """Stitch a folder of shards, in this process alone; the product goes beside the folder."""
    folder = shard_dir.resolve()
    return stitch_to_product(folder, folder.parent / product_name(folder))


def run_evaluate(request: RunRequest) -> dict[str, Any]:
    """Metrics and pictures of a product, in this process alone."""
    from ptycho_dist.evaluate.run import evaluate_product

    product = Path(str(request.product))
    output_dir = request.output_dir or product.parent
    if request.scan is None:
        return evaluate_product(product, None, output_dir, reference=request.reference)
    options = {name.partition(".")[2]: value for name, value in request.overrides.items() if name in _SCAN_OPTIONS}
    with open_scan(request.scan, ScanOptions(**options)) as scan:
        return evaluate_product(product, scan, output_dir, reference=request.reference)


_PREDICTION_FACTS = ("ranks", "prediction_s", "stitching_s", "prediction_patterns_per_s")
_SCAN_OPTIONS = tuple(f"data.{name}" for name in ScanOptions.__dataclass_fields__)


@dataclass(frozen=True)
class _Job:
    """A job on all ranks: its folder, what it works on, and how far an unfinished one came (None for a fresh one)."""

    output_dir: Path
    source: Source
    stop: StopSignals
    progress: dict[str, Any] | None

    @property
    def scan(self) -> Scan:
        """The scan of a job that works on one.

        Raises
        ------
        ConfigError
            If the job has a set of scans.
        """
        if isinstance(self.source, ScanSet):
            msg = f"{self.source.folder} is a set of scans; expected one scan. Name one of its files, or use train."
            raise ConfigError(msg)
        return self.source

    @property
    def goes_on(self) -> bool:
        """Whether an unfinished job of the same settings is here."""
        return self.progress is not None


def _train(payload: TrainingPayload, context: RankContext, job: _Job) -> dict[str, Any]:
    """Train, unless the unfinished job had finished that; what the metrics tell of the training."""
    done: dict[str, Any] | None = (job.progress or {}).get("training")
    if done is not None:
        logger.info("the training was finished before; its bundle %s is taken", job.output_dir / BUNDLE_FOLDER)
        return done
    from ptycho_dist.training.run import run_training

    started = time.monotonic()
    speed = run_training(payload, context, job.source, stop=job.stop, resume=job.goes_on).patterns_per_s
    facts = {
        "training_s": time.monotonic() - started,
        "training_patterns_per_s": speed if math.isfinite(speed) else None,
    }
    from_rank_0(lambda: job_marker.note(job.output_dir, training=facts))
    return facts


def _predict_and_evaluate(
    payload: InferencePayload, context: RankContext, job: _Job, request: RunRequest, facts: dict[str, Any],
    name: str = PRODUCT_NAME,
) -> dict[str, Any]:  # fmt: skip
    """Predict, stitch and evaluate; ``facts`` are told of the training."""
    from ptycho_dist.evaluate.run import evaluate_product

    result: InferenceResult = run_inference(payload, context, job.scan, name, resume=job.goes_on)
    seconds = result.seconds
    rate = result.n_patterns / seconds["prediction"]
    speed = dict(
        zip(_PREDICTION_FACTS, (context.world, seconds["prediction"], seconds["stitching"], rate), strict=True)
    )
    return evaluate_product(
        result.product_path,
        job.scan,
        payload.inference_config.output_dir,
        reference=request.reference,
        context=context,
        facts=facts | speed,
        prefix="network_" if name == NETWORK_PRODUCT_NAME else "",
    )


def _refine_and_evaluate(
    payload: RefinePayload, context: RankContext, job: _Job, request: RunRequest, facts: dict[str, Any]
) -> dict[str, Any]:
    """Refine and evaluate; ``facts`` are told of the steps before."""
    from ptycho_dist.evaluate.run import evaluate_product

    with ExitStack() as stack:
        callbacks: list[Callback] = []
        if context.rank == 0:
            bar = payload.execution_config.enable_progress_bar
            callbacks += [CsvLog(payload.output_dir), stack.enter_context(progress_bar()) if bar else Lines()]
        control = Control(job.stop, resume=job.goes_on, callbacks=callbacks)
        result = run_refinement(payload, context, job.scan, payload.output_dir / PRODUCT_NAME, control)
    done = payload.refine_config.iterations
    speed = {
        "ranks": context.world,
        "refine_s": result.seconds,
        "refine_iterations": done,
    }
    return evaluate_product(
        result.product_path,
        job.scan,
        payload.output_dir,
        reference=request.reference,
        context=context,
        facts=facts | speed,
    )


def _require_whole(request: RunRequest, iterations: int) -> None:
    """Refuse to refine a part of the object, before anything is trained."""
    settings = {} if request.config_file is None else read_config_file(request.config_file)
    in_file = canonicalise(settings, INFERENCE_SECTIONS, CONFIG_FILE, drop_foreign=True).values
    region = (dict(in_file) | request.inference_overrides()).get("inference.region")
    if region is not None and iterations:
        msg = (
            f"inference.region = {region} and refine.iterations = {iterations}; expected no refinement, for it needs "
            "the whole object. Set refine.iterations = 0, or leave inference.region out."
        )
        raise ConfigError(msg)


def _refine_payload(request: RunRequest, start: Path | None) -> RefinePayload:
    return create_refine_payload(
        str(request.scan),
        str(request.output_dir),
        request.refine_overrides(),
        start=start,
        config_file=request.config_file,
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
def _job(command: str, payload: Payload, context: RankContext) -> Iterator[_Job]:
    """Open the process group, prove that all ranks hold the same payload, and mark the job until it ends well."""
    execution, output_dir = payload.execution_config, payload.output_dir
    require_launch(execution, context)
    backend = process_group_backend(execution.accelerator)
    settings = payload.result_settings()
    with StopSignals() as stop, process_group(context, backend, execution.timeout_s):
        require_healthy(payload, context)
        require_agreement(payload.to_dict(), all_gather_object)
        logger.info(
            "%d rank(s), launcher %s, payload %s", context.world, context.launcher, payload.fingerprint()[:12]
        )  # fmt: skip
        progress = from_rank_0(lambda: job_marker.begin(output_dir, command, settings, resume=execution.resume))
        with open_source(payload.scan_path, scan_options(payload.data_config)) as source:
            yield _Job(output_dir, source, stop, progress)
        from_rank_0(lambda: job_marker.finish(output_dir))
