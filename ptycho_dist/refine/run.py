"""Refine on all ranks; rank 0 writes the product."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.collectives import all_reduce_sum, from_rank_0, on_all_ranks
from ptycho_dist.distributed.devices import device_of, dtype_of
from ptycho_dist.distributed.malloc import keep_freed_memory
from ptycho_dist.errors import RefinementError
from ptycho_dist.factory.payload import RefinePayload
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.launching.signals import StopSignals
from ptycho_dist.physics.probe import mode_powers
from ptycho_dist.physics.propagators import ConeBeam, FarField, NearField, Propagator, wavelength_m
from ptycho_dist.refine import checkpoint
from ptycho_dist.refine.amplitudes import AmplitudeReader
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.initial import Frame, make_estimate, read_start
from ptycho_dist.refine.iteration import Refiner
from ptycho_dist.refine.methods import make_method
from ptycho_dist.refine.product import write_product

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Iteration:
    """What is told of an iteration.

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
        What has been found; to be read only.
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
        Share of each probe mode.
    """

    product_path: Path
    fourier_errors: tuple[float, ...]
    seconds: float
    mode_powers: tuple[float, ...]


@dataclass(frozen=True)
class Control:
    """What stops and watches a refinement.

    Parameters
    ----------
    stop
        Signals that ask for an end between two iterations; the state is saved then.
    resume
        Go on with the unfinished refinement in the output folder.
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
    engine, frame = on_all_ranks(lambda: _begin(payload, context, scan))
    errors = _take_up(payload, engine, scan) if control.resume else []
    with control.stop.deferred():
        seconds = _iterate(payload, engine, errors, control)
    result = RefinementResult(product_path, tuple(errors), seconds, tuple(mode_powers(engine.estimate.probe_PNN)))
    from_rank_0(lambda: write_product(product_path, payload, scan, (engine.estimate, frame), errors))
    from_rank_0(lambda: checkpoint.forget(payload.output_dir))
    return result


def make_propagator(payload: RefinePayload, scan: Scan, like: Tensor) -> Propagator:
    """Make the propagator of the settings; ``like`` is complex, of their type and device."""
    config, header = payload.refine_config, scan.header
    if config.propagation == "far_field":
        return FarField()
    beam = ConeBeam(config.source_distance_m or math.inf, header.detector_distance_m)
    return NearField.over(
        header.N, header.pixel_size_m, wavelength_m(header.energy_eV), beam.effective_distance_m, like
    )


def _begin(payload: RefinePayload, context: RankContext, scan: Scan) -> tuple[Refiner, Frame]:
    config, execution = payload.refine_config, payload.execution_config
    device = device_of(execution.accelerator, context.local_rank)
    like = torch.zeros((), dtype=dtype_of(execution.precision), device=device)
    estimate, frame = make_estimate(read_start(scan, config.start), scan, config, like)
    propagator = make_propagator(payload, scan, torch.complex(like, like))
    mask = None if scan.mask is None else propagator.arrange(torch.from_numpy(scan.mask).to(device))
    engine = Refiner(
        config=config,
        estimate=estimate,
        method=make_method(config, estimate),
        measured=AmplitudeReader(scan, propagator, like, (context.rank, context.world)),
        mask_NN=mask,
        memory_bytes=int(config.memory_GiB * 2**30),
    )
    return engine, frame


def _take_up(payload: RefinePayload, engine: Refiner, scan: Scan) -> list[float]:
    """Put a saved state in place, the same on every rank; the errors of its iterations."""
    saved = from_rank_0(lambda: checkpoint.load(payload.output_dir, payload.result_fingerprint(), scan.header))
    if saved is None:
        return []
    engine.restore(saved.tensors)
    logger.info("going on from iteration %d of the refinement", len(saved.errors))
    return list(saved.errors)


def _iterate(payload: RefinePayload, engine: Refiner, errors: list[float], control: Control) -> float:
    """Do what is left of the iterations; errors are added to the list. Returns the seconds that it took."""
    total, execution = payload.refine_config.iterations, payload.execution_config
    started = saved = before = time.monotonic()
    for iteration in range(len(errors), total):
        errors.append(engine.iterate(iteration))
        now = time.monotonic()
        _require_finite(errors)
        count = payload.n_patterns
        told = Iteration(
            iteration + 1, total, errors[-1], now - started, count / max(now - before, 1e-9), engine.estimate
        )
        for callback in control.callbacks:
            callback(told)
        before = time.monotonic()
        is_due = execution.enable_checkpointing and now - saved >= execution.checkpoint_interval_s
        if _save_if_asked(payload, engine, errors, control, is_due=is_due):
            saved = now
    return time.monotonic() - started


def _save_if_asked(
    payload: RefinePayload, engine: Refiner, errors: list[float], control: Control, *, is_due: bool
) -> bool:
    """Save where rank 0's clock or a signal to any rank asks for it; a signal then stops all ranks."""
    wishes = torch.tensor([control.stop.received is not None, is_due], dtype=torch.int64)
    stop, due = (count > 0 for count in all_reduce_sum(wishes).tolist())
    if stop or due:
        state = checkpoint.Saved(payload.result_fingerprint(), payload.scan_checksum, tuple(errors), engine.tensors())
        from_rank_0(lambda: checkpoint.save(payload.output_dir, state))
    if stop:
        control.stop.stop()
    return bool(stop or due)


def _require_finite(errors: Sequence[float]) -> None:
    if not math.isfinite(errors[-1]):
        msg = (
            f"the Fourier error of iteration {len(errors)} is {errors[-1]}; expected a finite number. Make "
            "refine.object_step and refine.probe_step smaller, or start from another object."
        )
        raise RefinementError(msg)
