"""Refine on all ranks; rank 0 writes the product."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho_dist.data.formats.product_h5 import BACKGROUND, FLUX, UNCERTAINTY, ProductGeometry, ProductWriter
from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.collectives import all_reduce_sum, from_rank_0, on_all_ranks
from ptycho_dist.distributed.devices import keep_freed_memory
from ptycho_dist.errors import RefinementError
from ptycho_dist.evaluate.halves import Halves
from ptycho_dist.evaluate.metrics_file import NotMeasured
from ptycho_dist.factory.payload import RefinePayload
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.launching.signals import StopSignals
from ptycho_dist.physics.probe import mode_powers
from ptycho_dist.physics.propagators import propagation_of
from ptycho_dist.refine import checkpoint
from ptycho_dist.refine.conclusion import Conclusion, conclude, concluded
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.halves import as_array, refine_halves
from ptycho_dist.refine.iteration import Refiner
from ptycho_dist.refine.parts import Parts
from ptycho_dist.types import Canvas, ProductMetadata

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Iteration:
    """State of a refinement after an iteration.

    Parameters
    ----------
    number, total
        Iterations done, and to be done.
    fourier_error
        Of the patterns as they were met in it.
    seconds
        Duration of all iterations of this run so far, reading the patterns included.
    patterns_per_s
        Patterns of all ranks a second, in this iteration.
    estimate
        What is refined; to be read only.
    """

    number: int
    total: int
    fourier_error: float
    seconds: float
    patterns_per_s: float
    estimate: Estimate


Callback = Callable[[Iteration], None]
"""What is called on every rank after each iteration; without collective calls."""


@dataclass(frozen=True)
class RefinementResult:
    """What a refinement leaves.

    Parameters
    ----------
    product_path
        The refined reconstruction.
    fourier_errors
        Of each iteration, in passing.
    seconds
        Duration of the iterations of this run.
    mode_powers
        Power fraction of each probe mode.
    facts
        What metrics say of the refinement, by name.
    """

    product_path: Path
    fourier_errors: tuple[float, ...]
    seconds: float
    mode_powers: tuple[float, ...]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Control:
    """What stops and watches a refinement.

    Parameters
    ----------
    stop
        Signals that ask for an end between two iterations; the state is saved then.
    resume
        Resume the unfinished refinement in the output folder.
    callbacks
        Called after each iteration.
    """

    stop: StopSignals
    resume: bool = False
    callbacks: Sequence[Callback] = ()


def run_refinement(
    payload: RefinePayload, context: RankContext, scan: Scan, product_path: Path, control: Control
) -> RefinementResult:
    """Refine the start of a payload, and write it as a product.

    Parameters
    ----------
    payload, context, scan
        Settings, place of this rank, and the open scan.
    product_path
        File that rank 0 writes.
    control
        What stops and watches.

    Raises
    ------
    DataFormatError
        If the start does not belong to the scan.
    RefinementError
        If the estimate is no longer finite.
    StopRequested
        If a rank was told to stop.
    """
    keep_freed_memory()
    job = _Job(on_all_ranks(lambda: Parts.of(payload, context, scan)), control)
    refiner, canvas = on_all_ranks(lambda: _begin(job.parts))
    errors = _resume(payload, refiner, scan) if control.resume else []
    with control.stop.deferred():
        job.iterate(refiner, errors)
        start, _ = on_all_ranks(job.parts.estimate)
        conclusion = conclude(job.parts, start, refiner.estimate, lambda: job.save_if_asked(refiner, errors))
        reached = list(errors)
        final = job.conclude((start, refiner), conclusion, errors)
        halves = job.halves((start, refiner), conclusion, reached)

    def finish() -> dict[str, Any]:
        told, extras = _uncertainty(payload, scan, (final, canvas), halves)
        write_product(product_path, payload, scan, (final, canvas), errors, extras)
        checkpoint.forget(payload.output_dir)
        return told

    told = conclusion.facts() | from_rank_0(finish)
    return RefinementResult(product_path, tuple(errors), job.seconds, tuple(mode_powers(final.probe_PNN)), told)


def _uncertainty(
    payload: RefinePayload, scan: Scan, found: tuple[Estimate, Canvas], halves: Halves | NotMeasured | None
) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """Give what metrics and the product say of the halves; nothing where they were not asked for."""
    if halves is None:
        return {}, {}
    if isinstance(halves, NotMeasured):
        return {"uncertainty_median": halves}, {}
    from ptycho_dist.evaluate.comparison import illumination, scanned_area
    from ptycho_dist.evaluate.uncertainty import compare_halves

    whole, canvas = found
    probe = whole.probe_PNN.cpu().numpy()
    area = scanned_area(illumination(whole.positions_px.numpy(), probe, canvas.shape, np.zeros(2)))
    compared = compare_halves(as_array(whole), halves, area)
    logger.info("uncertainty from halves of the photons: median %.3g", np.median(compared.deviation_HW[area]))
    return compared.facts(scan.header.pixel_size_m), {UNCERTAINTY: compared.deviation_HW.astype(np.float32)}


def _begin(parts: Parts) -> tuple[Refiner, Canvas]:
    estimate, canvas = parts.estimate()
    return parts.refiner(estimate), canvas


def _resume(payload: RefinePayload, refiner: Refiner, scan: Scan) -> list[float]:
    """Restore a saved state, the same on every rank; returns the errors of its iterations."""
    saved = from_rank_0(lambda: checkpoint.load(payload.output_dir, payload.result_fingerprint(), scan.header))
    if saved is None:
        return []
    refiner.restore(saved.tensors)
    logger.info("resuming from iteration %d of the refinement", len(saved.errors))
    return list(saved.errors)


class _Job:
    """Iterations and passes of a job, watched by its callbacks; a state is saved between iterations only."""

    def __init__(self, parts: Parts, control: Control) -> None:
        self.parts, self._control, self._payload = parts, control, parts.payload
        self._started = self._saved = self._before = time.monotonic()

    @property
    def seconds(self) -> float:
        """Duration so far."""
        return time.monotonic() - self._started

    def iterate(self, refiner: Refiner, errors: list[float]) -> None:
        """Do what is left of the iterations; errors are added to the list."""
        total = self._payload.refine_config.iterations
        for iteration in range(len(errors), total):
            errors.append(refiner.iterate(iteration))
            self._report(refiner.estimate, errors, total)
            self.save_if_asked(refiner, errors)

    def conclude(self, before: tuple[Estimate, Refiner], conclusion: Conclusion, errors: list[float]) -> Estimate:
        """Make the regularised passes; the state of before them is what is saved."""
        start, refiner = before
        config, reached = self._payload.refine_config, list(errors)

        def after(error: float) -> None:
            errors.append(error)
            self._report(refiner.estimate, errors, config.iterations + config.regularised_passes)
            self.save_if_asked(refiner, reached)

        return concluded(self.parts, start, refiner.estimate, conclusion, after)

    def halves(
        self, before: tuple[Estimate, Refiner], conclusion: Conclusion, errors: list[float]
    ) -> Halves | NotMeasured | None:
        """Refine the halves of the photons, where that was asked for and can be."""
        config, (start, refiner) = self._payload.refine_config, before
        if not config.uncertainty:
            return None
        gain = on_all_ranks(self.parts.scan.gain)
        if not gain.is_counted:
            reason = NotMeasured(f"photons were not counted, so they cannot be split into halves ({gain.source})")
            logger.warning("no uncertainty: %s", reason)
            return reason
        estimates = (start, refiner.estimate)
        return refine_halves(self.parts, estimates, conclusion, gain, lambda: self.save_if_asked(refiner, errors))

    def save_if_asked(self, refiner: Refiner, errors: Sequence[float]) -> None:
        """Save where rank 0's clock or a signal to any rank asks for it; a signal then stops all ranks."""
        execution, stop = self._payload.execution_config, self._control.stop
        is_due = execution.enable_checkpointing and time.monotonic() - self._saved >= execution.checkpoint_interval_s
        wishes = torch.tensor([stop.received is not None, is_due], dtype=torch.int64)
        stops, due = (count > 0 for count in all_reduce_sum(wishes).tolist())
        if stops or due:
            state = checkpoint.Saved(
                self._payload.result_fingerprint(), self._payload.scan_checksum, tuple(errors), refiner.tensors()
            )
            from_rank_0(lambda: checkpoint.save(self._payload.output_dir, state))
            self._saved = time.monotonic()
        if stops:
            stop.stop()

    def _report(self, estimate: Estimate, errors: Sequence[float], total: int) -> None:
        _require_finite(errors)
        now, count = time.monotonic(), self._payload.n_patterns
        speed = count / max(now - self._before, 1e-9)
        report = Iteration(len(errors), total, errors[-1], now - self._started, speed, estimate)
        for callback in self._control.callbacks:
            callback(report)
        self._before = now


def _require_finite(errors: Sequence[float]) -> None:
    if not math.isfinite(errors[-1]):
        msg = (
            f"the Fourier error of iteration {len(errors)} is {errors[-1]}; expected a finite number. Make "
            "refine.object_step and refine.probe_step smaller, or start from another object."
        )
        raise RefinementError(msg)


def write_product(
    path: Path,
    payload: RefinePayload,
    scan: Scan,
    found: tuple[Estimate, Canvas],
    errors: Sequence[float],
    extras: Mapping[str, NDArray[np.float32]],
) -> None:
    """Write object, probe, positions and what else was refined or told; its losses are the Fourier errors."""
    estimate, canvas = found
    object_ = estimate.object_HW.cpu().numpy()
    with ProductWriter(path, _metadata(payload, scan), canvas.shape, _geometry(scan, canvas)) as writer:
        writer.write_probe(estimate.probe_PNN.cpu().numpy())
        writer.write_positions(estimate.positions_px.numpy() + np.asarray(canvas.origin_px))
        writer.write_losses(errors)
        writer.write_extra(FLUX, estimate.flux_B.numpy())
        for name, array in extras.items():
            writer.write_extra(name, array)
        if estimate.background_NN is not None:
            writer.write_extra(BACKGROUND, estimate.background_NN.cpu().numpy())
        writer.write_object_tile((0, 0), object_.astype(np.complex64))
    logger.info("refined object of %d x %d pixels written to %s", *canvas.shape, path)


def _metadata(payload: RefinePayload, scan: Scan) -> ProductMetadata:
    header = scan.header
    return ProductMetadata(
        name=header.path.stem,
        comments="Refined by ptycho_dist.",
        detector_object_distance_m=header.detector_distance_m,
        probe_energy_eV=header.energy_eV,
        propagation=propagation_of(payload.data_config, header),
        provenance={
            "payload": payload.to_dict(),
            "result_fingerprint": payload.result_fingerprint(),
            "conversions": list(header.conversions),
        },
    )


def _geometry(scan: Scan, canvas: Canvas) -> ProductGeometry:
    return ProductGeometry(N=scan.header.N, pixel_size_m=scan.header.pixel_size_m, object_origin_px=canvas.origin_px)
