"""How much the object's detail is to be made smaller, and from where: what explains photons that were not used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from ptycho_dist.distributed.collectives import on_all_ranks
from ptycho_dist.physics.thinning import Half
from ptycho_dist.refine.amplitudes import Share
from ptycho_dist.refine.batching import Batching, Overlap
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.iteration import Refiner
from ptycho_dist.refine.parts import Parts
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
        told = [f"{'refined' if one else 'start'}" for one in (self.refined_object, self.refined_probe)]
        return f"object: {told[0]}, probe: {told[1]}"

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
    parts
        Scan and settings.
    start, refined
        Estimates of the whole job; not changed.
    counts_per_photon
        Of the scan.
    poll
        Called after each pass; may stop the job.
    """

    parts: Parts
    start: Estimate
    refined: Estimate
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
        return self._score(regularise(self._half_refiner(estimate, weight), self.passes, lambda _: self.poll()))

    @property
    def passes(self) -> int:
        """Regularised passes of a trial."""
        return min(_MOST_PASSES, self.parts.payload.refine_config.regularised_passes)

    def _half_refiner(self, estimate: Estimate, weight: float) -> Refiner:
        made = regularised_refiner(self.parts, estimate, weight, self._first, self._chosen)
        made.keep(self._shares[0])
        return made

    @cached_property
    def _half_start(self) -> Estimate:
        return self.start.dimmed(0.5)

    @cached_property
    def _half_refined(self) -> Estimate:
        """Refine one half as the settings say, from the start, but with positions, flux and background as found."""
        begin = Way(False, False).of(self.start, self.refined).dimmed(0.5)
        refiner = self.parts.of_half(begin, self._first, self._chosen)
        refiner.keep(self._shares[0])
        for iteration in range(refiner.config.iterations):
            refiner.iterate(iteration)
            self.poll()
        return refiner.estimate

    @property
    def _first(self) -> Half:
        return Half(self.counts_per_photon, self.parts.payload.refine_config.seed)

    @cached_property
    def _shares(self) -> tuple[Share, Share]:
        """What this rank has of the chosen patterns, of both halves."""
        first, second = (
            replace(self.parts.reader, half=replace(self._first, is_second=which)) for which in (False, True)
        )
        return first.read_all(self._chosen), second.read_all(self._chosen)

    @cached_property
    def _chosen(self) -> IntArray:
        """Numbers of the patterns nearest to the middle of the scan, ascending."""
        positions = self.parts.scan.positions_px
        distance = np.abs(positions - np.median(positions, axis=0)).max(axis=1)
        return np.sort(np.argsort(distance, kind="stable")[:_MOST_PATTERNS])

    def _score(self, estimate: Estimate) -> float:
        """Poisson deviance over two, in photons, of the half that was not used, up to a constant."""
        found = torch.zeros(len(self.parts.scan), dtype=torch.float64)
        share = self._shares[1]
        own = on_all_ranks(lambda: self._deviances(estimate, share))
        found[share.numbers] = own
        (joined,) = join_sums([found])
        return round(float(joined.sum()) / self.counts_per_photon, 3)

    def _deviances(self, estimate: Estimate, share: Share) -> torch.Tensor:
        """Of this rank's patterns, float64 (n,)."""
        model, windows = estimate.forward_model(self.parts.reader.propagator), estimate.windows()
        found = torch.zeros(len(share.numbers), dtype=torch.float64)
        for begin in range(0, len(share.numbers), _BATCH):
            numbers = share.numbers[begin : begin + _BATCH]
            flux = estimate.flux_B[numbers].to(share.amplitude_nNN)
            patches = windows.take(numbers).gather(estimate.object_HW)
            modelled = model.counts(patches, flux).double() + LEAST_COUNTS
            terms = modelled - share.of(numbers).double().square() * modelled.log()
            valid = terms if self.parts.mask_NN is None else terms * self.parts.mask_NN
            found[begin : begin + _BATCH] = valid.sum(dim=(1, 2)).cpu()
        return found


def regularised_refiner(
    parts: Parts, estimate: Estimate, weight: float, half: Half | None = None, chosen: IntArray | None = None
) -> Refiner:
    """Make a refiner of regularised passes; over all patterns where none are chosen."""
    numbers = np.arange(len(parts.scan)) if chosen is None else chosen
    method = Regularised(estimate.object_HW, estimate.light(numbers), weight, len(numbers))
    positions, seed = estimate.positions_px.numpy()[numbers].copy(), parts.payload.refine_config.seed
    batching = Batching(positions, Overlap.nowhere(), _BATCH, seed, chosen)
    return parts.with_fixed_optics(estimate, method, batching, half)


def regularise(refiner: Refiner, passes: int, after: Callable[[float], None]) -> Estimate:
    """Make the passes of a regularised refiner; ``after`` is called with the Fourier error of each."""
    for number in range(passes):
        after(refiner.iterate(number))
    assert isinstance(refiner.method, Regularised)
    refiner.method.finish(refiner.estimate)
    return refiner.estimate


def _named(weight: float | None, way: Way | None) -> str:
    return "iterations alone" if weight is None else f"weight {weight:g} ({way})"
