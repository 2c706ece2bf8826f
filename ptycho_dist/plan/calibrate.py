"""A short calibration: real trainings and a real prediction of a small part of the scan."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from ptycho_dist.bundle import BUNDLE_FOLDER, load_bundle
from ptycho_dist.config.precedence import OVERRIDE, Level, RunRequest, defaults, resolve
from ptycho_dist.config.schema import DataConfig
from ptycho_dist.config.sections import INFERENCE_SECTIONS, REFINE_SECTIONS, TRAINING_SECTIONS, Sections
from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent, write_scan_h5
from ptycho_dist.data.grouping import canonical_order
from ptycho_dist.data.scan import Scan, ScanOptions, open_scan
from ptycho_dist.distributed.collectives import all_reduce_sum, barrier, from_rank_0, on_all_ranks, process_group
from ptycho_dist.distributed.devices import device_of, process_group_backend
from ptycho_dist.doctor.needs import needs_of
from ptycho_dist.factory.devices import require_launch
from ptycho_dist.factory.inference import inference_payload, read_trained
from ptycho_dist.factory.payload import RefinePayload, TrainingPayload
from ptycho_dist.factory.refine import refine_payload
from ptycho_dist.factory.settings import reader_options
from ptycho_dist.factory.training import training_payload
from ptycho_dist.inference.run import run_inference
from ptycho_dist.launching.environment import RankContext, single_rank
from ptycho_dist.plan.messages import RING, TREE, Interconnect, sent_bytes
from ptycho_dist.plan.model import Job, Measurement, fit_line
from ptycho_dist.plan.refinement import Refinement
from ptycho_dist.refine.initial import read_start
from ptycho_dist.refine.prepare import begin, make_reader, make_refiner
from ptycho_dist.training.run import TrainingResult, run_training
from ptycho_dist.types import Canvas

PATTERNS = 256
"""Patterns of the part of the scan that the calibration works on, at least."""
_STEPS_AN_EPOCH, _EPOCHS, _PASSES = 4, 4, 4
_MESSAGE_BYTES = (8, 1 << 14, 1 << 18, 1 << 20, 1 << 22)
_REPEATS = 15


@dataclass(frozen=True)
class _Bench:
    """The part of a scan, and where its results go."""

    request: RunRequest
    context: RankContext
    folder: Path

    @property
    def scan_path(self) -> Path:
        return self.folder / "part.h5"

    def given(self, sections: Sections) -> dict[str, Any]:
        """Select the settings that were typed, but for those of the scan, which its part was read with."""
        told = {f"data.{field.name}" for field in fields(ScanOptions)}
        return {name: value for name, value in self.request.levels(sections)[0].values.items() if name not in told}

    def train(self, batch_size: int, epochs: int) -> tuple[TrainingResult, float]:
        """Train for some epochs; the result and the duration in seconds."""
        keys: dict[str, Any] = {
            "training.max_steps": None,
            "training.max_time": None,
            "training.min_gain": 0.0,
            "training.max_epochs": epochs,
            "training.batch_size": batch_size,
        }
        keys |= {"training.n_groups": None, "training.n_subsample": None, "training.neighbor_count": None}
        keys |= {"training.mode": "unsupervised", "training.label_file": None}
        quiet = {"execution.logger_backend": "csv", "execution.enable_progress_bar": False}
        with open_scan(self.scan_path) as part:
            given = [Level(OVERRIDE, {**self.given(TRAINING_SECTIONS), **keys, **quiet})]
            payload = training_payload(part, self.folder, given)
            barrier()
            started = time.monotonic()
            result = run_training(payload, self.context, part)
        return result, time.monotonic() - started


def job_of(payload: TrainingPayload, scan: Scan, refine: RefinePayload | None) -> Job:
    """Size of the job that payloads describe; without a refinement where that is None."""
    data, training, model = payload.data_config, payload.training_config, payload.model_config
    height, width = Canvas.around(scan.positions_px, data.N).shape
    return Job(
        n_patterns=payload.n_patterns,
        canvas_px=height * width,
        n_groups=data.n_groups(training.n_chosen(payload.n_patterns), training.n_groups),
        group_size=data.patterns_in_group,
        batch_size=training.batch_size,
        epochs=training.epochs,
        max_steps=training.max_steps,
        exchanges=model.stages if model.exchange else 0,
        refinement=_refinement_of(refine, scan) if refine is not None else Refinement(N=data.N),
    )


def _refinement_of(payload: RefinePayload, scan: Scan) -> Refinement:
    refine, data = payload.refine_config, payload.data_config
    return Refinement(
        iterations=refine.iterations,
        tiles=refine.tiles or 1,
        update=refine.batch_size or 1,
        N=data.N,
        n_modes=data.n_modes or scan.header.n_modes,
    )


def measure(
    request: RunRequest, payload: TrainingPayload, refine: RefinePayload | None, scan: Scan, context: RankContext
) -> Measurement:
    """Calibrate on all ranks of this launch, inside its process group; takes some seconds."""
    job = job_of(payload, scan, refine)
    with _folder(request) as folder:
        bench = _Bench(request, context, folder)
        n_part = min(payload.n_patterns, max(PATTERNS, _STEPS_AN_EPOCH * 2 * job.batch_size * job.group_size))
        from_rank_0(lambda: str(_write_part(scan, n_part, bench.scan_path)))
        bench.train(job.batch_size, 1)
        sizes = (job.batch_size, 2 * job.batch_size)
        timed = [_step_seconds(bench, size, n_part, payload.data_config) for size in sizes]
        predict_s, stitch_s = _prediction_seconds(bench, n_part)
        refine_s = 0.0 if refine is None else on_all_ranks(lambda: _refinement_seconds(refine, scan, n_part, context))
        gradient_bytes = from_rank_0(lambda: _weight_bytes(folder / BUNDLE_FOLDER))
    reduction = TREE if "nccl" in process_group_backend(payload.execution_config.accelerator) else RING
    latency_s, bytes_per_s = _interconnect(context, reduction)
    shares = [-(-size // context.world) * job.group_size for size in sizes]
    return Measurement(
        ranks=context.world,
        patterns=(float(shares[0]), float(shares[1])),
        step_s=(timed[0][0], timed[1][0]),
        setup_s=min(setup for _, setup in timed),
        predict_s=predict_s,
        stitch_s=stitch_s,
        gradient_bytes=gradient_bytes,
        refine_s=refine_s,
        latency_s=latency_s,
        bytes_per_s=bytes_per_s,
        reduction=reduction,
    )


@contextmanager
def _folder(request: RunRequest) -> Iterator[Path]:
    """Temporary folder that all ranks see: in the output folder, where one was named."""
    if request.output_dir is not None:
        request.output_dir.mkdir(parents=True, exist_ok=True)
    folder = Path(from_rank_0(lambda: tempfile.mkdtemp(prefix=".plan-", dir=request.output_dir)))
    try:
        yield folder
        barrier()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _weight_bytes(bundle: Path) -> int:
    return sum(value.numel() * value.element_size() for value in load_bundle(bundle).state.values())


def _write_part(scan: Scan, n_part: int, path: Path) -> Path:
    """Write neighbouring patterns of a scan as a scan of its own."""
    rows = np.sort(canonical_order(scan.positions_px)[:n_part])
    content = ScanContent(
        patterns=(scan.read_patterns(rows[start : start + 64]) for start in range(0, n_part, 64)),
        positions_px=scan.positions_px[rows],
        probe=scan.probe,
        mask=scan.mask,
        probe_mask=scan.probe_mask,
    )
    return write_scan_h5(path, content)


def _step_seconds(bench: _Bench, batch_size: int, n_part: int, data: DataConfig) -> tuple[float, float]:
    """Duration of a step, and of what a training takes beside its steps."""
    result, seconds = bench.train(batch_size, _EPOCHS)
    steps = -(-data.n_groups(n_part) // batch_size)
    step_s = data.patterns_in_epoch(n_part) / result.patterns_per_s / steps
    return step_s, max(0.0, seconds - _EPOCHS * steps * step_s)


def _prediction_seconds(bench: _Bench, n_part: int) -> tuple[float, float]:
    """Duration of predicting a pattern on one rank, and of stitching a pixel."""
    trained = read_trained(bench.folder / BUNDLE_FOLDER, [Level(OVERRIDE, bench.given(INFERENCE_SECTIONS))])
    with open_scan(bench.scan_path) as part:
        payload = inference_payload(trained, part, bench.folder)
        seconds = run_inference(payload, bench.context, part).seconds
        height, width = Canvas.around(part.positions_px, payload.data_config.N).shape
    world = bench.context.world
    return seconds["prediction"] / -(-n_part // world), seconds["stitching"] * world / (height * width)


def _refinement_seconds(payload: RefinePayload, scan: Scan, n_part: int, context: RankContext) -> float:
    """Duration of a pattern in a pass of the refinement, by this rank alone, over neighbouring patterns.

    Of several passes the shortest: in the first one patterns are read, and loops may be compiled.
    """
    rows = np.sort(canonical_order(scan.positions_px)[:n_part])
    data, config, execution = payload.data_config, payload.refine_config, payload.execution_config
    reader = replace(make_reader(scan, data, execution, context), context=single_rank(), sample=rows)
    start = read_start(scan, None, data.propagation).some(rows)
    refiner = make_refiner(begin(start, reader, data, config), reader, execution.cpu_loops)
    seconds = []
    for iteration in range(_PASSES):
        started = time.monotonic()
        refiner.iterate(iteration)
        seconds.append(time.monotonic() - started)
    return min(seconds) / n_part


def _interconnect(context: RankContext, reduction: str) -> tuple[float, float]:
    """Latency (s) and bandwidth (bytes/s) of adding tensors up over all ranks; 0 and infinite for one rank."""
    if context.world == 1:
        return 0.0, math.inf
    seconds = [_sum_seconds(size) for size in _MESSAGE_BYTES]
    start_s, byte_s = fit_line([sent_bytes(size, context.world) for size in _MESSAGE_BYTES], seconds)
    rounds = Interconnect(reduction=reduction).rounds(context.world)
    return start_s / rounds, 1 / byte_s if byte_s > 0 else math.inf


def _sum_seconds(size: int) -> float:
    values, times = torch.zeros(size // 4), []
    for _ in range(_REPEATS):
        barrier()
        started = time.perf_counter()
        all_reduce_sum(values)
        times.append(time.perf_counter() - started)
    return median(times)


@dataclass(frozen=True)
class Calibration:
    """What a prediction starts from.

    Parameters
    ----------
    job
        Size of the job.
    measurement
        What was measured on the ranks of this launch.
    memory_bytes
        Estimate of the memory of a rank, for each number of ranks asked for.
    """

    job: Job
    measurement: Measurement
    memory_bytes: dict[int, int]


def calibrate(request: RunRequest, context: RankContext, numbers: Sequence[int]) -> Calibration:
    """Measure short trainings and a prediction on all ranks of this launch.

    Raises
    ------
    LaunchError
        If ranks and devices differ, or the ranks do not find each other.
    """
    given = request.levels(TRAINING_SECTIONS)
    with open_scan(str(request.scan), reader_options(given)) as scan:
        payload = training_payload(scan, request.output_dir or ".", given)
        execution = payload.execution_config
        require_launch(execution, context)
        refine = _refine_payload(request, scan)
        planned = [payload] if refine is None else [payload, refine]
        memory = {ranks: max(needs_of(one, ranks).memory_bytes or 0 for one in planned) for ranks in numbers}
        device = device_of(execution.accelerator, context.local_rank)
        with process_group(context, process_group_backend(execution.accelerator), execution.timeout_s, device):
            measured = measure(request, payload, refine, scan, context)
            return Calibration(job_of(payload, scan, refine), measured, memory)


def _refine_payload(request: RunRequest, scan: Scan) -> RefinePayload | None:
    """Decide how a reconstruction refines; None where it does not, or where the scan gives no probe to measure with."""
    given = request.levels(REFINE_SECTIONS)
    start_from_ones = Level(OVERRIDE, {"refine.start_from": "ones"})
    if scan.probe is None or not resolve([*given, defaults(REFINE_SECTIONS)]).values["refine.iterations"]:
        return None
    return refine_payload(scan, request.output_dir or ".", [start_from_ones, *given])
