"""Refine on all ranks; rank 0 writes the product."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.collectives import all_reduce_sum, from_rank_0, on_all_ranks
from ptycho_dist.distributed.devices import keep_freed_memory
from ptycho_dist.factory.payload import RefinePayload
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.launching.signals import StopSignals
from ptycho_dist.physics.probe import mode_powers
from ptycho_dist.refine import checkpoint
from ptycho_dist.refine.candidates import Candidates, make_candidates
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.product import write_product

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Iteration:
    """State of a refinement after an iteration.

    Parameters
    ----------
    number, total
        Iterations done, and to be done.
    fourier_error
        Of the patterns as they were met in it; the smallest where there is more than one start.
    by_start
        The same of each start that is still refined.
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
    by_start: Mapping[str, float]
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
    start
        What was refined to the end: network (or the product that was given), or ones.
    by_start
        Fourier error of each iteration in passing, for each start as long as it was refined.
    seconds
        Duration of the iterations of this run.
    mode_powers
        Power fraction of each probe mode.
    """

    product_path: Path
    start: str
    by_start: Mapping[str, tuple[float, ...]]
    seconds: float
    mode_powers: tuple[float, ...]

    @property
    def fourier_errors(self) -> tuple[float, ...]:
        """Of each iteration of the start that was refined to the end."""
        return self.by_start[self.start]

    def facts(self) -> dict[str, str | int | float | None]:
        """Return what the metrics say of the start, and of starts that were compared: their last errors together."""
        if len(self.by_start) == 1:
            return {"refined_from": self.start}
        compared = min(len(errors) for errors in self.by_start.values())
        last = {name: errors[compared - 1] if compared else None for name, errors in self.by_start.items()}
        return {
            "refined_from": self.start,
            "starts_compared_iterations": compared,
            **{f"fourier_error_from_{name}": error for name, error in last.items()},
        }


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
    candidates = on_all_ranks(lambda: make_candidates(payload, context, scan))
    if control.resume:
        _resume(payload, candidates, scan)
    with control.stop.deferred():
        seconds = _iterate(payload, candidates, control)
    best = candidates.choose()
    by_start = {name: tuple(errors) for name, errors in candidates.errors.items()}
    from_rank_0(lambda: write_product(product_path, payload, scan, best, by_start))
    from_rank_0(lambda: checkpoint.forget(payload.output_dir))
    powers = tuple(mode_powers(best.refiner.estimate.probe_PNN))
    return RefinementResult(product_path, best.name, by_start, seconds, powers)


def _resume(payload: RefinePayload, candidates: Candidates, scan: Scan) -> None:
    """Restore a saved state, the same on every rank."""
    saved = from_rank_0(lambda: checkpoint.load(payload.output_dir, payload.result_fingerprint(), scan.header))
    if saved is not None:
        candidates.restore(saved.errors, saved.tensors)
        logger.info("resuming from iteration %d of the refinement", candidates.done)


def _iterate(payload: RefinePayload, candidates: Candidates, control: Control) -> float:
    """Do what is left of the iterations. Returns the seconds that it took."""
    execution = payload.execution_config
    started = saved = before = time.monotonic()
    for iteration in range(candidates.done, candidates.total):
        worked = payload.n_patterns * len(candidates.going)
        candidates.iterate(iteration)
        now = time.monotonic()
        report = _report(candidates, now - started, worked / max(now - before, 1e-9))
        for callback in control.callbacks:
            callback(report)
        before = time.monotonic()
        is_due = execution.enable_checkpointing and now - saved >= execution.checkpoint_interval_s
        if _save_if_asked(payload, candidates, control, is_due=is_due):
            saved = now
    return time.monotonic() - started


def _report(candidates: Candidates, seconds: float, patterns_per_s: float) -> Iteration:
    best, by_start = candidates.best, candidates.latest
    return Iteration(
        number=candidates.done,
        total=candidates.total,
        fourier_error=by_start[best.name],
        by_start=by_start,
        seconds=seconds,
        patterns_per_s=patterns_per_s,
        estimate=best.refiner.estimate,
    )


def _save_if_asked(payload: RefinePayload, candidates: Candidates, control: Control, *, is_due: bool) -> bool:
    """Save where rank 0's clock or a signal to any rank asks for it; a signal then stops all ranks."""
    wishes = torch.tensor([control.stop.received is not None, is_due], dtype=torch.int64)
    stop, due = (count > 0 for count in all_reduce_sum(wishes).tolist())
    if stop or due:
        fingerprint, tensors = payload.result_fingerprint(), candidates.tensors()
        state = checkpoint.Saved(fingerprint, payload.scan_checksum, candidates.errors, tensors)
        from_rank_0(lambda: checkpoint.save(payload.output_dir, state))
    if stop:
        control.stop.stop()
    return bool(stop or due)
