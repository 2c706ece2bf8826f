"""What follows the iterations of a refinement: regularised passes, where photons are few enough for them to help."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ptycho_dist.config.scan_options import AUTO, NONE
from ptycho_dist.distributed.collectives import on_all_ranks
from ptycho_dist.errors import RefinementError
from ptycho_dist.evaluate.metrics_file import NotMeasured
from ptycho_dist.refine.candidates import Candidate
from ptycho_dist.refine.cross_validation import Choice, Trial, Way, regularise, regularised_refiner
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.iterated import Iterated

logger = logging.getLogger(__name__)

_MOST_PHOTONS = 1e5
"""Photons for each pixel of the object from which on their noise, half over the root, is below 0.002 rad."""
_MOST_PIXELS = 2**26
"""Of an object that passes are tried on where nothing is said: half a GiB, of which they hold about ten copies."""


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


_AS_REFINED = Way(True, True)


def conclude_at_once(best: Candidate) -> Conclusion | None:
    """Decide about regularised passes, the same on every rank, without the whole object; None where it takes trials.

    Called on all ranks.
    """
    config = best.beginning.config
    asked = config.regularisation
    if not config.iterations:
        return Conclusion(None, _AS_REFINED, "no iterations")
    if asked == NONE:
        return Conclusion(None, _AS_REFINED, "regularisation = none")
    if asked != AUTO:
        return Conclusion(float(asked), _AS_REFINED, "as set")
    reason = _reason_against(best)
    if not reason:
        return None
    logger.info("no regularised passes: %s", reason)
    return Conclusion(None, _AS_REFINED, reason)


def conclude_by_trials(done: Iterated, poll: Callable[[], None]) -> Conclusion:
    """Decide about regularised passes by what explains photons that were left out, the same on every rank.

    Parameters
    ----------
    done
        The refinement after its iterations; not changed.
    poll
        Called after each pass of a trial; may stop the job.
    """
    gain = on_all_ranks(done.scan.gain)
    assert gain.counts_per_photon is not None
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


def _reason_against(best: Candidate) -> str:
    """Why nothing is tried; empty where something is."""
    scan, shape = best.beginning.scan, best.beginning.canvas.shape
    if math.prod(shape) > _MOST_PIXELS:
        limit = f"passes hold the whole object on every rank, and are tried up to {_MOST_PIXELS:,}"
        return f"the object has {math.prod(shape):,} pixels; {limit}"
    gain = on_all_ranks(scan.gain)
    if gain.against_halves or gain.counts_per_photon is None:
        return gain.against_halves
    photons = scan.header.mean_counts / gain.counts_per_photon
    dose = photons * len(scan) / _lit_pixels(best)
    if dose > _MOST_PHOTONS:
        limit = f"from {_MOST_PHOTONS:.0e} on their noise limits nothing"
        return f"{dose:.3g} photons for each pixel of the object; {limit}"
    return ""


def _lit_pixels(best: Candidate) -> float:
    found = best.refiner.lit_pixels()
    if not found > 0:
        msg = "the refined probe has no light; expected some. Start from another probe, or with smaller steps."
        raise RefinementError(msg)
    return found


def _chosen(choice: Choice) -> Conclusion:
    if choice.weight is None or choice.way is None:
        text = "the iterations alone explain photons that were left out best"
        return Conclusion(None, Way(True, True), text, choice.deviances)
    text = f"weight {choice.weight:g} ({choice.way}) explains photons that were left out best"
    return Conclusion(choice.weight, choice.way, text, choice.deviances)
