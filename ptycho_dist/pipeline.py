"""What the commands run: each step on all ranks, in one process group.

Training (Lightning) and evaluation (plotting) are imported where they are needed: many ranks need
one of them only, or none.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ptycho_dist import job_marker
from ptycho_dist import pipeline_stages as stages
from ptycho_dist.bundle import BUNDLE_FOLDER, PRETRAINED
from ptycho_dist.config.asked import asked_besides
from ptycho_dist.config.live import LiveConfig
from ptycho_dist.config.precedence import Level, RunRequest, defaults, resolve
from ptycho_dist.config.sections import ALL_SECTIONS, INFERENCE_SECTIONS, REFINE_SECTIONS, TRAINING_SECTIONS
from ptycho_dist.data.scan import Scan
from ptycho_dist.data.scan_set import Source, open_on_ranks
from ptycho_dist.data.survey.sources import require_sound_source
from ptycho_dist.distributed.agreement import require_agreement
from ptycho_dist.distributed.claim import claimed_by_rank_0
from ptycho_dist.distributed.collectives import all_gather_object, from_rank_0, on_all_ranks, process_group
from ptycho_dist.distributed.devices import device_of, process_group_backend, set_determinism
from ptycho_dist.doctor.run import require_healthy
from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate.group_report import GROUPS
from ptycho_dist.factory.devices import require_launch
from ptycho_dist.factory.inference import Trained, inference_payload, read_trained
from ptycho_dist.factory.payload import InferencePayload, Payload, RefinePayload, TrainingPayload
from ptycho_dist.factory.refine import refine_payload
from ptycho_dist.factory.settings import data_of, execution_of, reader_options
from ptycho_dist.factory.training import training_payload
from ptycho_dist.finished_jobs import FinishedAlready
from ptycho_dist.inference.product import NETWORK_PRODUCT_NAME, PRODUCT_NAME
from ptycho_dist.inference.run import InferenceResult, run_inference
from ptycho_dist.launching.environment import RankContext, detect
from ptycho_dist.launching.signals import StopSignals
from ptycho_dist.probe_stage import find_probe
from ptycho_dist.probe_start import with_start_probe
from ptycho_dist.progress.state_file import StateFile
from ptycho_dist.refine.progress import CsvLog, StageReports, curve_of
from ptycho_dist.refine.run import Callback, Control, run_refinement
from ptycho_dist.reporting import Reporter
from ptycho_dist.run_record import PREDICTION, REFINEMENT, TRAINING

if TYPE_CHECKING:
    from ptycho_dist.evaluate.figures import Overview

logger = logging.getLogger(__name__)

AnyPayload = TypeVar("AnyPayload", bound=Payload)
_PREDICTION_FACTS = ("ranks", "prediction_s", "stitching_s", "prediction_patterns_per_s")


def run_train(request: RunRequest) -> None:
    """Train on all ranks, on a scan or a set of scans; rank 0 writes the bundle."""
    given, folder = request.levels(TRAINING_SECTIONS), _output_dir(request)
    with _job("train", request, given, lambda source: training_payload(source, folder, given)) as (job, payload):
        job.context.progress.plan(stages.of_training(payload))
        _train(payload, job)
        job.reporter.write(None, None)


def run_live(request: RunRequest, live: LiveConfig) -> dict[str, Any]:
    """Follow a scan on rank 0 while it is measured, then predict what was measured as :func:`run_infer` does."""
    folder = _output_dir(request)
    trained = read_trained(request.model_path or PRETRAINED, request.levels(INFERENCE_SECTIONS))
    with _ranks("infer", request, trained.levels) as held:
        from ptycho_dist.live.following import final_request, follow

        followed = from_rank_0(lambda: follow(trained, live, held.context, folder))
        final = final_request(request, followed)
        trained = read_trained(request.model_path or PRETRAINED, final.levels(INFERENCE_SECTIONS))
        return _infer(final, trained, held, followed.facts)


def run_infer(request: RunRequest) -> dict[str, Any]:
    """Predict on all ranks, stitch on rank 0, evaluate; returns the metrics."""
    trained = read_trained(request.model_path or PRETRAINED, request.levels(INFERENCE_SECTIONS))
    with _ranks("infer", request, trained.levels) as held:
        return _infer(request, trained, held, {})


def _infer(request: RunRequest, trained: Trained, held: _Ranks, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Predict and evaluate; the metrics begin with some facts."""
    folder = _output_dir(request)
    with _job_on(
        held, "infer", request, trained.levels, lambda source: inference_payload(trained, source, folder)
    ) as found:
        job, payload = found
        job.context.progress.plan(stages.of_prediction(payload) | stages.of_evaluation())
        return _predict_and_evaluate(payload, job, dict(facts))


def run_reconstruct(request: RunRequest) -> dict[str, Any]:
    """Train, predict, stitch, refine and evaluate, in one launch; returns the metrics."""
    folder, refining = _output_dir(request), request.levels(REFINE_SECTIONS)
    given = request.levels(TRAINING_SECTIONS)
    iterations = _iterations(request)

    def make(source: Source) -> TrainingPayload:
        refine_payload(source, folder, refining, of_network=True)  # a wrong setting is refused before the training
        return training_payload(source, folder, given)

    with _job("reconstruct", request, given, make) as (job, payload):
        job.context.progress.plan(stages.of_reconstruction(payload, iterations))
        facts = _train(payload, job)
        trained = read_trained(folder / BUNDLE_FOLDER, request.levels(INFERENCE_SECTIONS))
        inference = _agreed(lambda: inference_payload(trained, job.scan, folder))
        if not iterations:
            return _predict_and_evaluate(inference, job, facts)
        network = _predict_and_evaluate(inference, job, facts, NETWORK_PRODUCT_NAME)
        start = folder / NETWORK_PRODUCT_NAME
        refinement = _agreed(lambda: refine_payload(job.scan, folder, refining, start, of_network=True))
        told = {name: network[name] for name in (*facts, *_PREDICTION_FACTS) if name != GROUPS}
        told |= {f"network_{name}": network[name] for name in ("fourier_error", "normalised_error")}
        return _refine_and_evaluate(refinement, job, told)


def run_refine(request: RunRequest) -> dict[str, Any]:
    """Refine on all ranks, and evaluate; returns the metrics."""
    given, folder = request.levels(REFINE_SECTIONS), _output_dir(request)
    with _job("refine", request, given, lambda source: refine_payload(source, folder, given, request.start)) as found:
        job, payload = found
        job.context.progress.plan(stages.of_refinement(payload.refine_config.iterations) | stages.of_evaluation())
        return _refine_and_evaluate(payload, job, {})


@dataclass(frozen=True)
class _Job:
    """A job on all ranks: its folder, what it works on, and how far an unfinished one came (None for a fresh one)."""

    request: RunRequest
    context: RankContext
    output_dir: Path
    source: Source
    stop: StopSignals
    progress: dict[str, Any] | None
    reporter: Reporter

    @property
    def scan(self) -> Scan:
        """The scan of a job that works on one; factories refuse sets for the others."""
        assert isinstance(self.source, Scan)
        return self.source

    @property
    def resumes(self) -> bool:
        """Whether an unfinished job of the same settings is here."""
        return self.progress is not None


def _train(payload: TrainingPayload, job: _Job) -> dict[str, Any]:
    """Train, unless the unfinished job had finished that; returns what the metrics say of the training."""
    job.reporter.settings(TRAINING, payload)
    done: dict[str, Any] | None = (job.progress or {}).get("training")
    if done is not None:
        logger.info("the training was finished before; reusing its bundle %s", job.output_dir / BUNDLE_FOLDER)
        return done
    from ptycho_dist.training.run import run_training

    started = time.monotonic()
    with job.context.progress.stage(stages.TRAINING):
        result = run_training(payload, job.context, job.source, stop=job.stop, resume=job.resumes)
    facts = {
        "training_s": time.monotonic() - started,
        "training_patterns_per_s": result.patterns_per_s if math.isfinite(result.patterns_per_s) else None,
        GROUPS: result.fourier_error,
    }
    from_rank_0(lambda: job_marker.note(job.output_dir, training=facts))
    return facts


def _predict_and_evaluate(
    payload: InferencePayload, job: _Job, facts: dict[str, Any], name: str = PRODUCT_NAME
) -> dict[str, Any]:
    """Predict, stitch and evaluate; ``facts`` come from the training."""
    job.reporter.settings(PREDICTION, payload)
    started = time.monotonic()
    found = find_probe(payload, job.context, job.scan, resume=job.resumes)
    if found is not None:
        facts = facts | found.facts() | {"probe_search_s": time.monotonic() - started}
    result: InferenceResult = run_inference(payload, job.context, job.scan, name, found=found, resume=job.resumes)
    seconds = result.seconds
    rate = result.n_patterns / seconds["prediction"]
    told = (job.context.world, seconds["prediction"], seconds["stitching"], rate)
    prefix = "network_" if name == NETWORK_PRODUCT_NAME else ""
    return _evaluate(result.product_path, job, facts | dict(zip(_PREDICTION_FACTS, told, strict=True)), prefix)


def _refine_and_evaluate(payload: RefinePayload, job: _Job, facts: dict[str, Any]) -> dict[str, Any]:
    """Refine and evaluate; ``facts`` come from the steps before."""
    job.reporter.settings(REFINEMENT, payload)
    progress = job.context.progress
    callbacks: list[Callback] = [StageReports(progress)]
    if job.context.rank == 0:
        callbacks += [CsvLog(payload.output_dir), *_logged(payload, follows_training=bool(facts))]
    control = Control(job.stop, resume=job.resumes, callbacks=callbacks)
    with progress.stage(stages.REFINEMENT):
        progress.report(note="reading patterns")
        result = run_refinement(payload, job.context, job.scan, payload.output_dir / PRODUCT_NAME, control)
    told = {
        "ranks": job.context.world,
        "refine_s": result.seconds,
        "refine_iterations": payload.refine_config.iterations,
    }
    return _evaluate(result.product_path, job, facts | told | result.facts())


def _logged(payload: RefinePayload, *, follows_training: bool) -> list[Callback]:
    """Log a refinement to TensorBoard or MLflow, where one of them is asked for."""
    backend = payload.execution_config.logger_backend
    if backend not in ("tensorboard", "mlflow"):
        return []
    from ptycho_dist.training.refinement_curve import RefinementCurve

    curve = RefinementCurve(backend, payload.output_dir, payload.to_dict(), follows_training=follows_training)
    return [lambda done: curve.log(done.number, curve_of(done), is_last=done.number >= done.total)]


def _evaluate(product: Path, job: _Job, facts: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Evaluate a product of this job, if its scan is still what the job began with."""
    from ptycho_dist.evaluate.run import evaluate_product

    on_all_ranks(job.source.require_unchanged)
    name = stages.EVALUATION_OF_NETWORK if prefix else stages.EVALUATION
    shown: list[Overview] = []
    with job.context.progress.stage(name, is_shared=False):
        metrics = evaluate_product(
            product,
            job.scan,
            job.output_dir,
            reference=job.request.reference,
            context=job.context,
            facts=facts,
            prefix=prefix,
            is_own=True,
            keep=shown.append,
        )
    if not prefix:
        job.reporter.write(job.scan, job.request.reference, *shown)
    return metrics


def _iterations(request: RunRequest) -> int:
    """Find how long a reconstruction refines; not at all where only a part of the object is predicted.

    Raises
    ------
    ConfigError
        If a part of the object is to be refined.
    """
    values = resolve([*request.levels(ALL_SECTIONS), defaults(ALL_SECTIONS)]).values
    region, iterations = values["inference.region"], int(values["refine.iterations"])
    if region is not None and iterations:
        msg = (
            f"inference.region = {region} and refine.iterations = {iterations}; expected no refinement, for it needs "
            "the whole object. Set refine.iterations = 0, or leave inference.region out."
        )
        raise ConfigError(msg)
    return iterations


def _output_dir(request: RunRequest) -> Path:
    return Path(str(request.output_dir))


def _agreed(make: Callable[[], AnyPayload]) -> AnyPayload:
    """Make a payload on every rank, and prove that all ranks hold the same."""
    payload = on_all_ranks(make)
    require_agreement(payload.to_dict(), all_gather_object)
    return payload


@dataclass(frozen=True)
class _Ranks:
    """All ranks in one process group, which hold the output folder."""

    context: RankContext
    stop: StopSignals


@contextmanager
def _ranks(command: str, request: RunRequest, given: Sequence[Level]) -> Iterator[_Ranks]:
    """Open the process group, and hold the output folder."""
    context, execution = replace(detect(os.environ), progress=request.progress), execution_of(given)
    require_launch(execution, context)
    backend = process_group_backend(execution.accelerator)
    device = device_of(execution.accelerator, context.local_rank)
    set_determinism(device, execution.deterministic)
    with (
        StopSignals() as stop,
        process_group(context, backend, execution.timeout_s, device),
        claimed_by_rank_0(_output_dir(request), command),
    ):
        context.progress.listen(StateFile(_output_dir(request), context.rank, context.world))
        yield _Ranks(context, stop)


@contextmanager
def _job(
    command: str, request: RunRequest, given: Sequence[Level], make: Callable[[Source], AnyPayload]
) -> Iterator[tuple[_Job, AnyPayload]]:
    """Open process group and scan, prove that all ranks hold the same payload, and mark the job until it ends well.

    Raises
    ------
    FinishedAlready
        On all ranks, where the folder holds the results of this very job.
    """
    with _ranks(command, request, given) as held, _job_on(held, command, request, given, make) as found:
        yield found


@contextmanager
def _job_on(
    held: _Ranks,
    command: str,
    request: RunRequest,
    given: Sequence[Level],
    make: Callable[[Source], AnyPayload],
) -> Iterator[tuple[_Job, AnyPayload]]:
    """Do the same in a process group that is open."""
    context, execution = held.context, execution_of(given)
    context.progress.report(note="reading the scan")
    with open_on_ranks(Path(str(request.scan)), reader_options(given)) as opened:
        require_sound_source(opened, context)
        source = with_start_probe(opened, (data_of(given), execution, context))
        payload = on_all_ranks(lambda: make(source))
        require_healthy(payload, context)
        require_agreement(payload.to_dict(), all_gather_object)
        logger.info("%d rank(s), launcher %s, payload %s", context.world, context.launcher, payload.fingerprint()[:12])
        settings, folder = payload.result_settings(), payload.output_dir
        overwrite, asked = request.overwrite, settings | asked_besides(command, request)
        if execution.resume and not overwrite:
            finished = from_rank_0(lambda: job_marker.finished(folder, command, asked))
            if finished is not None:
                raise FinishedAlready(finished)
        progress = from_rank_0(
            lambda: job_marker.begin(folder, command, settings, resume=execution.resume, overwrite=overwrite)
        )
        reporter = Reporter(folder, context.progress, execution.report)
        reporter.begin(request.argv, payload)
        yield _Job(request, context, folder, source, held.stop, progress, reporter), payload
        from_rank_0(lambda: job_marker.finish(folder, payload.scan_checksum, _inputs(request, payload), asked))


def _inputs(request: RunRequest, payload: Payload) -> list[Path]:
    """Files and folders that a job reads beside its scan."""
    given = [request.model_path, request.start, request.reference]
    if isinstance(payload, TrainingPayload):
        given += [payload.training_config.init_from, payload.training_config.label_file]
    if isinstance(payload, RefinePayload):
        given.append(payload.refine_config.start)
    return [path for path in given if path is not None]
