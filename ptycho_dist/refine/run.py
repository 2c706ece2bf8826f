"""Refine on all ranks; rank 0 writes the product."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.collectives import all_reduce_sum, from_rank_0, on_all_ranks
from ptycho_dist.distributed.devices import keep_freed_memory
from ptycho_dist.errors import RefinementError
from ptycho_dist.factory.payload import RefinePayload
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.launching.signals import StopSignals
from ptycho_dist.physics.probe import mode_powers
from ptycho_dist.refine import checkpoint
from ptycho_dist.refine.candidates import Candidate, Candidates, make_candidates
from ptycho_dist.refine.ending import conclude
from ptycho_dist.refine.iteration import Refiner
from ptycho_dist.refine.product import write_product
from ptycho_dist.refine.tiles.refiner import TiledRefiner

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Iteration:
    """State of a refinement after an iteration.

    Parameters
    ----------
    number, total
        Iterations done, and to be done; regularised passes follow them, and count.
    fourier_error
        Of the patterns as they were met in it; the smallest where there is more than one start.
    by_start
        The same of each start that is still refined.
    seconds
        Duration of all iterations of this run so far, reading the patterns included.
    patterns_per_s
        Patterns of all ranks a second, in this iteration.
    refiner
        What refines; to be read only.
    """

    number: int
    total: int
    fourier_error: float
    by_start: Mapping[str, float]
    seconds: float
    patterns_per_s: float
    refiner: Refiner | TiledRefiner


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
        Fourier error of each iteration in passing, for each start as long as it was refined; of its regularised
        passes after that.
    seconds
        Duration of iterations and passes of this run.
    mode_powers
        Power fraction of each probe mode.
    told
        What metrics say of what followed the iterations, by name.
    """

    product_path: Path
    start: str
    by_start: Mapping[str, tuple[float, ...]]
    seconds: float
    mode_powers: tuple[float, ...]
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fourier_errors(self) -> tuple[float, ...]:
        """Of each iteration of the start that was refined to the end."""
        return self.by_start[self.start]

    def facts(self) -> dict[str, Any]:
        """Return what the metrics say of it, and of starts that were compared: their last errors together."""
        if len(self.by_start) == 1:
            return {"refined_from": self.start, **self.told}
        compared = min(len(errors) for errors in self.by_start.values())
        last = {name: errors[compared - 1] if compared else None for name, errors in self.by_start.items()}
        return {
            "refined_from": self.start,
            "starts_compared_iterations": compared,
            **{f"fourier_error_from_{name}": error for name, error in last.items()},
            **self.told,
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
    watch = _Watch(payload, candidates, control)
    with control.stop.deferred():
        _iterate(candidates, watch)
        best = candidates.choose()
        passes: list[float] = []
        end = conclude(best, context, lambda error: _after_pass(best, passes, error, watch), watch.poll)
    by_start = {name: tuple(errors) for name, errors in candidates.errors.items()}
    by_start[best.name] += tuple(passes)
    write_product(product_path, payload, scan, end.outcome, best.name, by_start, end.extras)
    from_rank_0(lambda: checkpoint.forget(payload.output_dir))
    powers = tuple(mode_powers(end.outcome.probe_PNN))
    return RefinementResult(product_path, best.name, by_start, watch.seconds, powers, end.told)


def _resume(payload: RefinePayload, candidates: Candidates, scan: Scan) -> None:
    """Restore a saved state, the same on every rank."""
    saved = from_rank_0(lambda: checkpoint.load(payload.output_dir, payload.result_fingerprint(), scan.header))
    if saved is not None:
        on_all_ranks(lambda: candidates.restore(saved.facts.errors, saved.tensors(), saved.part))
        logger.info("resuming from iteration %d of the refinement", candidates.done)


def _iterate(candidates: Candidates, watch: _Watch) -> None:
    """Do what is left of the iterations."""
    candidates.progress.expect(candidates.total, "iterations", candidates.done)
    for iteration in range(candidates.done, candidates.total):
        refined = len(candidates.going)
        candidates.iterate(iteration)
        watch.tell((candidates.done, candidates.total), candidates.latest, candidates.best, refined)
        watch.poll()


def _after_pass(best: Candidate, passes: list[float], error: float, watch: _Watch) -> None:
    config = best.beginning.config
    passes.append(error)
    if not math.isfinite(error):
        msg = (
            f"the Fourier error of regularised pass {len(passes)} is {error}; expected a finite number. Set "
            "refine.regularisation = none, or start from another object."
        )
        raise RefinementError(msg)
    watch.tell(
        (config.iterations + len(passes), config.iterations + config.regularised_passes), {best.name: error}, best
    )
    watch.poll()


class _Watch:
    """Tells callbacks of what was done, and saves the candidates where that is due or the job is to stop.

    Only candidates are saved: what follows their iterations is done anew by a run that resumes.
    """

    def __init__(self, payload: RefinePayload, candidates: Candidates, control: Control) -> None:
        self._payload, self._candidates, self._control = payload, candidates, control
        self._started = self._saved = self._before = time.monotonic()

    @property
    def seconds(self) -> float:
        """Duration so far."""
        return time.monotonic() - self._started

    def tell(self, count: tuple[int, int], by_start: Mapping[str, float], best: Candidate, refined: int = 1) -> None:
        """Report an iteration or a pass of ``count`` to callbacks, in which so many candidates were refined."""
        now = time.monotonic()
        speed = self._payload.n_patterns * refined / max(now - self._before, 1e-9)
        report = Iteration(*count, by_start[best.name], by_start, now - self._started, speed, best.refiner)
        for callback in self._control.callbacks:
            callback(report)
        self._before = time.monotonic()

    def poll(self) -> None:
        """Save where rank 0's clock or a signal to any rank asks for it; a signal then stops all ranks."""
        execution, stop = self._payload.execution_config, self._control.stop
        is_due = execution.enable_checkpointing and time.monotonic() - self._saved >= execution.checkpoint_interval_s
        wishes = torch.tensor([stop.received is not None, is_due], dtype=torch.int64)
        stops, due = (count > 0 for count in all_reduce_sum(wishes).tolist())
        if stops or due:
            payload, held = self._payload, self._candidates
            facts = checkpoint.Facts(payload.result_fingerprint(), payload.scan_checksum, dict(held.errors))
            checkpoint.save(payload.output_dir, facts, held.tensors(), held.parts())
            self._saved = time.monotonic()
        if stops:
            stop.stop()
