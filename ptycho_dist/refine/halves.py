"""The same refinement of each half of the photons, by itself, and how uncertain the object is by them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.product_h5 import UNCERTAINTY
from ptycho_dist.distributed.collectives import on_all_ranks
from ptycho_dist.evaluate.halves import ComplexArray, Halves
from ptycho_dist.evaluate.metrics_file import NotMeasured
from ptycho_dist.physics.thinning import Half
from ptycho_dist.refine.conclusion import Conclusion
from ptycho_dist.refine.cross_validation import Way, half_start, halves, regularise, regularised_refiner
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.iterated import Iterated

logger = logging.getLogger(__name__)


def refine_halves(done: Iterated, conclusion: Conclusion, poll: Callable[[], None]) -> Halves | NotMeasured | None:
    """Refine both halves as the whole was, from the same start, but in other orders of the patterns.

    Positions, flux and background stay as they were found. The same on every rank; None where that was not asked for,
    and a reason where it cannot be done.

    Parameters
    ----------
    done
        The refinement after its iterations; not changed.
    conclusion
        What was done after them.
    poll
        Called after each pass; may stop the job.
    """
    if not done.config.uncertainty:
        return None
    gain = on_all_ranks(done.scan.gain)
    if gain.against_halves or gain.counts_per_photon is None:
        reason = NotMeasured(gain.against_halves)
        logger.warning("no uncertainty: %s", reason)
        return reason
    both = halves(done, gain.counts_per_photon)

    def objects(way: Conclusion) -> tuple[ComplexArray, ComplexArray]:
        first, second = (_as_array(_refine(done, way, half, poll)) for half in both)
        return first, second

    plain = objects(replace(conclusion, weight=0.0)) if conclusion.weight else None
    return Halves(objects(conclusion), plain, conclusion.way.refined_probe and bool(done.config.probe_step))


def tell_uncertainty(
    done: Iterated, whole: Estimate, found: Halves | NotMeasured | None
) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """Give what metrics and the product say of the halves; nothing where they were not asked for."""
    if found is None:
        return {}, {}
    if isinstance(found, NotMeasured):
        return {"uncertainty_median": found}, {}
    from ptycho_dist.evaluate.comparison import illumination, scanned_area
    from ptycho_dist.evaluate.uncertainty import compare_halves

    probe = whole.probe_PNN.cpu().numpy()
    area = scanned_area(illumination(whole.positions_px.numpy(), probe, whole.canvas_px, np.zeros(2)))
    compared = compare_halves(_as_array(whole), found, area)
    logger.info("uncertainty from halves of the photons: median %.3g", np.median(compared.deviation_HW[area]))
    return compared.facts(done.scan.header.pixel_size_m), {UNCERTAINTY: compared.deviation_HW.astype(np.float32)}


def _as_array(estimate: Estimate) -> ComplexArray:
    return np.asarray(estimate.object_HW.cpu().numpy(), np.complex128)


def _refine(done: Iterated, conclusion: Conclusion, half: Half, poll: Callable[[], None]) -> Estimate:
    begin, reader = half_start(done), done.reader(half)
    own = begin.copy()
    if conclusion.weight is None or conclusion.way != Way(False, False):
        refiner = done.again(own, reader)
        refiner.batching = replace(refiner.batching, seed=refiner.batching.seed + half.is_second)
        for iteration in range(refiner.config.iterations):
            refiner.iterate(iteration)
            poll()
    if conclusion.weight is None:
        return own
    last = regularised_refiner(done, conclusion.way.of(begin, own), conclusion.weight, reader)
    return regularise(last, done.config.regularised_passes, lambda _: poll())
