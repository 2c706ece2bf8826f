"""How much the object's detail is to be made smaller, and from where: what explains photons that were not used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from ptycho_dist.distributed.collectives import on_all_ranks
from ptycho_dist.physics.thinning import Half
from ptycho_dist.refine.amplitudes import AmplitudeReader, Share
from ptycho_dist.refine.batching import Batching, Overlap
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.iterated import Iterated
from ptycho_dist.refine.iteration import Refiner
from ptycho_dist.refine.reductions import join_sums
from ptycho_dist.refine.regularised import LEAST_COUNTS, Regularised
from ptycho_dist.types import IntArray

WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Of the object's detail, per photon."""
_FIRST = 3
_MOST_PATTERNS, _MOST_PASSES = 256, 25
"""Of a trial, so that its cost does not grow with the scan."""
_BATCH = 64


@dataclass(frozen=True)
class Way:
    """What the regularised passes start from.

    Parameters
    ----------
    refined_object, refined_probe
        Whether object and probe are those of the iterations before, or those of the start.
    """

    refined_object: bool
    refined_probe: bool

    def __str__(self) -> str:
        object_, probe = ("refined" if one else "start" for one in (self.refined_object, self.refined_probe))
        return f"object: {object_}, probe: {probe}"

    def of(self, start: Estimate, refined: Estimate) -> Estimate:
        """Take object and probe of either, all else as it was refined."""
        found = refined.copy()
        found.object_HW.copy_((refined if self.refined_object else start).object_HW)
        found.probe_PNN.copy_((refined if self.refined_probe else start).probe_PNN)
        return found


WAYS = (Way(False, False), Way(False, True), Way(True, True))


@dataclass(frozen=True)
class Choice:
    """A weight and a way; no weight where the iterations before explain most.

    Parameters
    ----------
    weight, way
        Of the regularised passes; None for none of them.
    deviances
        Held-out Poisson deviance of all that was tried, over the least one.
    """

    weight: float | None
    way: Way | None
    deviances: dict[str, float]


@dataclass(frozen=True)
class Trial:
    """Refinements of one half of the photons of some patterns, held against the other half.

    Parameters
    ----------
    done
        The refinement of all photons; not changed.
    counts_per_photon
        Of the scan.
    poll
        Called after each pass; may stop the job.
    """

    done: Iterated
    counts_per_photon: float
    poll: Callable[[], None]

    def choose(self) -> Choice:
        """Try ways and weights, and take what explains the other half best."""
        tried: dict[tuple[float | None, Way | None], float] = {(None, None): self._score(self._half_refined)}
        ways = {way: self._try(way, WEIGHTS[_FIRST]) for way in WAYS}
        best = min(ways, key=ways.__getitem__)
        tried |= {(WEIGHTS[_FIRST], way): found for way, found in ways.items()}
        for step in (1, -1):
            place = _FIRST
            while 0 <= place + step < len(WEIGHTS) and self._improves(tried, best, place, step):
                place += step
        if (0.0, best) not in tried:
            tried[0.0, best] = self._try(best, 0.0)
        weight, way = min(tried, key=tried.__getitem__)
        least = tried[weight, way]
        return Choice(weight, way, {_named(*one): found - least for one, found in tried.items()})

    def _improves(self, tried: dict[tuple[float | None, Way | None], float], way: Way, place: int, step: int) -> bool:
        """Try the next weight; whether it is better than the one before."""
        weight = WEIGHTS[place + step]
        tried[weight, way] = self._try(way, weight)
        return tried[weight, way] < tried[WEIGHTS[place], way]

    def _try(self, way: Way, weight: float) -> float:
        estimate = way.of(self._half_start, self._half_refined)
        refiner = regularised_refiner(self.done, estimate, weight, self._readers[0])
        return self._score(regularise(refiner, self.passes, lambda _: self.poll()))

    @property
    def passes(self) -> int:
        """Regularised passes of a trial."""
        return min(_MOST_PASSES, self.done.config.regularised_passes)

    @cached_property
    def _half_start(self) -> Estimate:
        return half_start(self.done).some(self._chosen)

    @cached_property
    def _half_refined(self) -> Estimate:
        """Refine one half as the settings say, from the start, but with positions, flux and background as found."""
        refiner = self.done.again(self._half_start.copy(), self._readers[0])
        for iteration in range(refiner.config.iterations):
            refiner.iterate(iteration)
            self.poll()
        return refiner.estimate

    @cached_property
    def _readers(self) -> tuple[AmplitudeReader, AmplitudeReader]:
        """Readers of both halves of the chosen patterns."""
        first, second = (self.done.reader(half, self._chosen) for half in halves(self.done, self.counts_per_photon))
        return first, second

    @cached_property
    def _chosen(self) -> IntArray:
        """Numbers of the patterns nearest to the middle of the scan, ascending."""
        positions = self.done.scan.positions_px
        distance = np.abs(positions - np.median(positions, axis=0)).max(axis=1)
        return np.sort(np.argsort(distance, kind="stable")[:_MOST_PATTERNS])

    def _score(self, estimate: Estimate) -> float:
        """Poisson deviance over two, in photons, of the half that was not used, up to a constant."""
        found = torch.zeros(len(self._chosen), dtype=torch.float64)
        share = self._readers[1].whole
        own = on_all_ranks(lambda: self._deviances(estimate, share))
        found[share.numbers] = own
        (joined,) = join_sums([found])
        return round(float(joined.sum()) / self.counts_per_photon, 3)

    def _deviances(self, estimate: Estimate, share: Share) -> torch.Tensor:
        """Of this rank's patterns, float64 (n,)."""
        model, windows = estimate.forward_model(self._readers[1].propagator), estimate.windows()
        found, mask = torch.zeros(len(share.numbers), dtype=torch.float64), self.done.refiner.mask_NN
        for begin in range(0, len(share.numbers), _BATCH):
            numbers = share.numbers[begin : begin + _BATCH]
            flux = estimate.flux_B[numbers].to(share.amplitude_nNN)
            patches = windows.take(numbers).gather(estimate.object_HW)
            modelled = model.counts(patches, flux).double() + LEAST_COUNTS
            terms = modelled - share.of(numbers).double().square() * modelled.log()
            valid = terms if mask is None else terms * mask
            found[begin : begin + _BATCH] = valid.sum(dim=(1, 2)).cpu()
        return found


def halves(done: Iterated, counts_per_photon: float) -> tuple[Half, Half]:
    """Give both halves of the photons."""
    seed = done.config.seed
    return Half(counts_per_photon, seed), Half(counts_per_photon, seed, is_second=True)


def half_start(done: Iterated) -> Estimate:
    """Make the start of half the photons: object and probe of the start, but all else as it was found."""
    return Way(False, False).of(done.start, done.estimate).dimmed(0.5)


def regularised_refiner(done: Iterated, estimate: Estimate, weight: float, reader: AmplitudeReader) -> Refiner:
    """Make a refiner of regularised passes over what a reader gives."""
    method = Regularised(estimate.object_HW, estimate.light(), weight, reader.n_patterns)
    batching = Batching(estimate.positions_px.numpy().copy(), Overlap.nowhere(), _BATCH, done.config.seed)
    return done.with_fixed_optics(estimate, (method, batching), reader)


def regularise(refiner: Refiner, passes: int, after: Callable[[float], None]) -> Estimate:
    """Make the passes of a regularised refiner; ``after`` is called with the Fourier error of each."""
    for number in range(passes):
        after(refiner.iterate(number))
    assert isinstance(refiner.method, Regularised)
    refiner.method.finish(refiner.estimate)
    return refiner.estimate


def _named(weight: float | None, way: Way | None) -> str:
    return "iterations alone" if weight is None else f"weight {weight:g} ({way})"
