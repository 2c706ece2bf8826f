"""The same refinement of each half of the photons, by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ptycho_dist.data.survey.gain import Gain
from ptycho_dist.evaluate.halves import ComplexArray, Halves
from ptycho_dist.physics.thinning import Half
from ptycho_dist.refine.conclusion import Conclusion
from ptycho_dist.refine.cross_validation import Way, regularise, regularised_refiner
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.parts import Parts
from ptycho_dist.types import IntArray


def refine_halves(
    parts: Parts, estimates: tuple[Estimate, Estimate], done: Conclusion, gain: Gain, poll: Callable[[], None]
) -> Halves:
    """Refine both halves as the whole was, from the same start, but in other orders of the patterns.

    Positions, flux and background stay as they were found.

    Parameters
    ----------
    parts
        Scan and settings.
    estimates
        Of the whole, before and after the iterations; not changed.
    done
        What was done after the iterations.
    gain
        Counts per photon; photons must have been counted.
    poll
        Called after each pass; may stop the job.
    """
    numbers = np.arange(len(parts.scan))
    counts_per_photon, seed = gain.counts_per_photon or 1.0, parts.payload.refine_config.seed
    halves = [Half(counts_per_photon, seed, is_second) for is_second in (False, True)]

    def objects(way: Conclusion) -> tuple[ComplexArray, ComplexArray]:
        first, second = (as_array(_refine(parts, estimates, way, (half, numbers), poll)) for half in halves)
        return first, second

    plain = objects(replace(done, weight=0.0)) if done.weight else None
    find_shift = done.way.refined_probe and bool(parts.payload.refine_config.probe_step)
    return Halves(objects(done), plain, find_shift)


def as_array(estimate: Estimate) -> ComplexArray:
    """Object of an estimate, complex128, shape (H, W)."""
    return np.asarray(estimate.object_HW.cpu().numpy(), np.complex128)


def _refine(
    parts: Parts,
    estimates: tuple[Estimate, Estimate],
    done: Conclusion,
    patterns: tuple[Half, IntArray],
    poll: Callable[[], None],
) -> Estimate:
    half, numbers = patterns
    start, refined = estimates
    begin = Way(False, False).of(start, refined).dimmed(0.5)
    own = begin.copy()
    if done.weight is None or done.way != Way(False, False):
        refiner = parts.of_half(own, half, numbers)
        refiner.batching = replace(refiner.batching, seed=refiner.batching.seed + half.is_second)
        for iteration in range(refiner.config.iterations):
            refiner.iterate(iteration)
            poll()
    if done.weight is None:
        return own
    refiner = regularised_refiner(parts, done.way.of(begin, own), done.weight, half)
    return regularise(refiner, parts.payload.refine_config.regularised_passes, lambda _: poll())
