"""What follows the iterations of a refinement: regularised passes, where photons are few enough for them to help."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ptycho_dist.config.scan_options import AUTO, NONE
from ptycho_dist.data.survey.gain import Gain
from ptycho_dist.distributed.collectives import on_all_ranks
from ptycho_dist.errors import RefinementError
from ptycho_dist.evaluate.metrics_file import NotMeasured
from ptycho_dist.refine.cross_validation import Choice, Trial, Way, regularise, regularised_refiner
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.iterated import Iterated

logger = logging.getLogger(__name__)

_MOST_PHOTONS = 1e5
"""Photons for each pixel of the object from which on their noise, half over the root, is below 0.002 rad."""


@dataclass(frozen=True)
class Conclusion:
    """What is done after the iterations.

    Parameters
    ----------
    weight
        Of the object's detail; None for no regularised passes.
    way
        What they start from.
    reason
        Why.
    deviances
        Of what was tried, as in :class:`~ptycho_dist.refine.cross_validation.Choice`.
    """

    weight: float | None
    way: Way
    reason: str
    deviances: dict[str, float] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Give what metrics say of it."""
        return {
            "regularisation": NotMeasured(self.reason) if self.weight is None else self.weight,
            "regularisation_reason": self.reason,
            "regularisation_start": NotMeasured(self.reason) if self.weight is None else str(self.way),
            "held_out_deviance": self.deviances or NotMeasured(self.reason),
        }


def conclude(done: Iterated, poll: Callable[[], None]) -> Conclusion:
    """Decide about regularised passes, the same on every rank.

    Parameters
    ----------
    done
        The refinement after its iterations; not changed.
    poll
        Called after each pass of a trial; may stop the job.
    """
    asked, last = done.config.regularisation, Way(True, True)
    if not done.config.iterations:
        return Conclusion(None, last, "no iterations")
    if asked == NONE:
        return Conclusion(None, last, "regularisation = none")
    if asked != AUTO:
        return Conclusion(float(asked), last, "as set")
    gain = on_all_ranks(done.scan.gain)
    reason = _reason_against(done, gain)
    if reason or gain.counts_per_photon is None:
        logger.info("no regularised passes: %s", reason)
        return Conclusion(None, last, reason)
    found = _chosen(Trial(done, gain.counts_per_photon, poll).choose())
    logger.info("regularised passes: %s", found.reason)
    return found


def concluded(done: Iterated, conclusion: Conclusion, after: Callable[[float], None]) -> Estimate:
    """Make the regularised passes; ``after`` is called with the Fourier error of each."""
    if conclusion.weight is None:
        return done.estimate
    begin = conclusion.way.of(done.start, done.estimate)
    refiner = regularised_refiner(done, begin, conclusion.weight, done.refiner.reader)
    return regularise(refiner, done.config.regularised_passes, after)


def _reason_against(done: Iterated, gain: Gain) -> str:
    """Why nothing is tried; empty where something is."""
    if gain.against_halves or gain.counts_per_photon is None:
        return gain.against_halves
    photons = done.scan.header.mean_counts / gain.counts_per_photon
    dose = photons * len(done.scan) / _lit_pixels(done.estimate)
    if dose > _MOST_PHOTONS:
        limit = f"from {_MOST_PHOTONS:.0e} on their noise limits nothing"
        return f"{dose:.3g} photons for each pixel of the object; {limit}"
    return ""


def _lit_pixels(estimate: Estimate) -> float:
    """Participation number of the object's pixels by their light."""
    light = estimate.light().double()
    total, squares = float(light.sum()), float(light.square().sum())
    if not squares > 0:
        msg = "the refined probe has no light; expected some. Start from another probe, or with smaller steps."
        raise RefinementError(msg)
    return total**2 / squares


def _chosen(choice: Choice) -> Conclusion:
    if choice.weight is None or choice.way is None:
        text = "the iterations alone explain photons that were left out best"
        return Conclusion(None, Way(True, True), text, choice.deviances)
    text = f"weight {choice.weight:g} ({choice.way}) explains photons that were left out best"
    return Conclusion(choice.weight, choice.way, text, choice.deviances)
