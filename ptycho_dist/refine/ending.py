"""From the iterations of a refinement to what its product and metrics are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.distributed.collectives import from_rank_0
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.refine.candidates import Candidate
from ptycho_dist.refine.conclusion import conclude_at_once, conclude_by_trials, concluded
from ptycho_dist.refine.halves import refine_halves, tell_uncertainty
from ptycho_dist.refine.iterated import Iterated
from ptycho_dist.refine.outcome import Outcome


@dataclass(frozen=True)
class End:
    """What a refinement ends with.

    Parameters
    ----------
    outcome
        For the product.
    told
        What metrics say of what followed the iterations, by name.
    extras
        Further arrays of the product, by name; on rank 0.
    """

    outcome: Outcome
    told: Mapping[str, Any]
    extras: Mapping[str, NDArray[np.float32]]


def conclude(best: Candidate, context: RankContext, after: Callable[[float], None], poll: Callable[[], None]) -> End:
    """Do what follows the iterations; the whole object comes together on the ranks only where something does.

    Parameters
    ----------
    best
        What was kept.
    context
        Place of this rank; called on all.
    after
        Called with the Fourier error of each regularised pass.
    poll
        Called after each pass of a trial; may stop the job.
    """
    canvas, conclusion = best.beginning.canvas, conclude_at_once(best)
    if conclusion is not None and conclusion.weight is None and not best.beginning.config.uncertainty:
        return End(best.refiner.outcome(canvas), conclusion.facts(), {})
    done = Iterated(best.refiner.ended(), best.beginning.estimate)
    conclusion = conclusion or conclude_by_trials(done, poll)
    final = concluded(done, conclusion, after)
    halves = refine_halves(done, conclusion, poll)
    extras: dict[str, NDArray[np.float32]] = {}

    def tell() -> dict[str, Any]:
        told, found = tell_uncertainty(done, final, halves)
        extras.update(found)
        return told

    return End(Outcome.of(final, canvas, context.rank), conclusion.facts() | from_rank_0(tell), extras)
