"""Refine on all ranks; rank 0 writes the product."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ptycho_dist.data.formats.base import BoolArray
from ptycho_dist.data.formats.product_h5 import BACKGROUND, FLUX, ProductGeometry, ProductWriter
from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.collectives import all_reduce_sum, from_rank_0, on_all_ranks
from ptycho_dist.distributed.devices import device_of, dtype_of, keep_freed_memory
from ptycho_dist.errors import RefinementError
from ptycho_dist.factory.payload import RefinePayload
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.launching.signals import StopSignals
from ptycho_dist.physics.optics import support_of
from ptycho_dist.physics.probe import mode_powers
from ptycho_dist.physics.propagators import make_propagator, propagation_of
from ptycho_dist.refine import checkpoint
from ptycho_dist.refine.amplitudes import AmplitudeReader
from ptycho_dist.refine.batching import make_batching
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.initial import make_estimate, read_start
from ptycho_dist.refine.iteration import Refiner
from ptycho_dist.refine.methods import make_method
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
    refiner, canvas = on_all_ranks(lambda: _begin(payload, context, scan))
    errors = _resume(payload, refiner, scan) if control.resume else []
    with control.stop.deferred():
        seconds = _iterate(payload, refiner, errors, control)
    result = RefinementResult(product_path, tuple(errors), seconds, tuple(mode_powers(refiner.estimate.probe_PNN)))
    from_rank_0(lambda: write_product(product_path, payload, scan, (refiner.estimate, canvas), errors))
    from_rank_0(lambda: checkpoint.forget(payload.output_dir))
    return result


def _begin(payload: RefinePayload, context: RankContext, scan: Scan) -> tuple[Refiner, Canvas]:
    config, execution = payload.refine_config, payload.execution_config
    device = device_of(execution.accelerator, context.local_rank)
    like = torch.zeros((), dtype=dtype_of(execution.precision), device=device)
    propagator = make_propagator(
        propagation_of(payload.data_config, scan.header), scan.header.N, torch.complex(like, like)
    )
    support = _on(device, support_of(scan.header.N, payload.data_config.probe_support_px, _tensor(scan.probe_mask)))
    start = read_start(scan, config.start, payload.data_config.propagation)
    estimate, canvas = make_estimate(start, scan, (payload.data_config, config), like, support)
    mask = _tensor(scan.mask)
    refiner = Refiner(
        config=config,
        estimate=estimate,
        method=make_method(config, estimate),
        batching=make_batching(config, estimate),
        reader=AmplitudeReader(scan, propagator, like, context),
        mask_NN=None if mask is None else propagator.arrange(mask.to(device)),
        memory_bytes=int(config.memory_GiB * 2**30),
        support_NN=support,
        background=payload.data_config.background,
    )
    return refiner, canvas


def _tensor(array: BoolArray | None) -> Tensor | None:
    return None if array is None else torch.from_numpy(array)


def _on(device: torch.device, values: Tensor | None) -> Tensor | None:
    return None if values is None else values.to(device)


def _resume(payload: RefinePayload, refiner: Refiner, scan: Scan) -> list[float]:
    """Restore a saved state, the same on every rank; returns the errors of its iterations."""
    saved = from_rank_0(lambda: checkpoint.load(payload.output_dir, payload.result_fingerprint(), scan.header))
    if saved is None:
        return []
    refiner.restore(saved.tensors)
    logger.info("resuming from iteration %d of the refinement", len(saved.errors))
    return list(saved.errors)


def _iterate(payload: RefinePayload, refiner: Refiner, errors: list[float], control: Control) -> float:
    """Do what is left of the iterations; errors are added to the list. Returns the seconds that it took."""
    total, execution = payload.refine_config.iterations, payload.execution_config
    started = saved = before = time.monotonic()
    for iteration in range(len(errors), total):
        errors.append(refiner.iterate(iteration))
        now = time.monotonic()
        _require_finite(errors)
        count = payload.n_patterns
        report = Iteration(
            iteration + 1, total, errors[-1], now - started, count / max(now - before, 1e-9), refiner.estimate
        )
        for callback in control.callbacks:
            callback(report)
        before = time.monotonic()
        is_due = execution.enable_checkpointing and now - saved >= execution.checkpoint_interval_s
        if _save_if_asked(payload, refiner, errors, control, is_due=is_due):
            saved = now
    return time.monotonic() - started


def _save_if_asked(
    payload: RefinePayload, refiner: Refiner, errors: list[float], control: Control, *, is_due: bool
) -> bool:
    """Save where rank 0's clock or a signal to any rank asks for it; a signal then stops all ranks."""
    wishes = torch.tensor([control.stop.received is not None, is_due], dtype=torch.int64)
    stop, due = (count > 0 for count in all_reduce_sum(wishes).tolist())
    if stop or due:
        tensors = refiner.tensors()
        state = checkpoint.Saved(payload.result_fingerprint(), payload.scan_checksum, tuple(errors), tensors)
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


def write_product(
    path: Path, payload: RefinePayload, scan: Scan, found: tuple[Estimate, Canvas], errors: Sequence[float]
) -> None:
    """Write object, probe, positions and what else was refined; its losses are the Fourier errors."""
    estimate, canvas = found
    object_ = estimate.object_HW.cpu().numpy()
    with ProductWriter(path, _metadata(payload, scan), canvas.shape, _geometry(scan, canvas)) as writer:
        writer.write_probe(estimate.probe_PNN.cpu().numpy())
        writer.write_positions(estimate.positions_px.numpy() + np.asarray(canvas.origin_px))
        writer.write_losses(errors)
        writer.write_extra(FLUX, estimate.flux_B.numpy())
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
