"""Refinements from one start, or from two side by side until one is clearly better."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from ptycho_dist.data.scan import Scan
from ptycho_dist.errors import RefinementError
from ptycho_dist.factory.payload import RefinePayload
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.progress.tracker import Progress
from ptycho_dist.refine.beginning import Beginning
from ptycho_dist.refine.choice import is_beaten
from ptycho_dist.refine.initial import read_start
from ptycho_dist.refine.iteration import QUARTERS, ReadPart, Refiner, Tell
from ptycho_dist.refine.prepare import begin, make_reader, make_refiner
from ptycho_dist.refine.tiles.prepare import cut_tiles, tiled
from ptycho_dist.refine.tiles.refiner import TiledRefiner

logger = logging.getLogger(__name__)

NETWORK, ONES = NAMES = "network", "ones"
_STARTS: Mapping[str, Sequence[str]] = {"network": (NETWORK,), "ones": (ONES,), "both": (NETWORK, ONES)}
_SEPARATOR = "/"


@dataclass(frozen=True)
class Candidate:
    """A refinement from one start.

    Parameters
    ----------
    name
        What it started from: network (or the product that was given), or ones.
    refiner
        Holds its estimate.
    beginning
        What it started from, and where that lies.
    """

    name: str
    refiner: Refiner | TiledRefiner
    beginning: Beginning


@dataclass
class Candidates:
    """All that are still refined, and the errors of all.

    Parameters
    ----------
    going
        Candidates that are refined.
    total
        Iterations to be done.
    cooling
        Share of them, the last ones, over which steps shrink.
    n_patterns
        Of the scan.
    progress
        Where quarters of iterations are reported.
    errors
        Fourier error of each iteration, by name; a candidate that was given up keeps those it had.
    """

    going: list[Candidate]
    total: int
    cooling: float
    n_patterns: int
    progress: Progress
    errors: dict[str, list[float]] = field(init=False)

    def __post_init__(self) -> None:
        self.errors = {one.name: [] for one in self.going}

    @property
    def done(self) -> int:
        """Iterations done."""
        return max(len(errors) for errors in self.errors.values())

    @property
    def best(self) -> Candidate:
        """The candidate with the smallest error; the first of equal ones."""
        return min(self.going, key=lambda one: self.errors[one.name][-1:])

    @property
    def latest(self) -> dict[str, float]:
        """Error of the last iteration of each candidate that was refined in it, by name."""
        return {name: errors[-1] for name, errors in self.errors.items() if errors and len(errors) == self.done}

    def iterate(self, iteration: int) -> None:
        """Pass over all patterns once for each candidate, and give up those that are beaten.

        Raises
        ------
        RefinementError
            If no estimate is finite any more.
        """
        found = {one.name: one.refiner.iterate(iteration, tell) for one, tell in self._told(iteration)}
        self._give_up_broken(found, iteration)
        for one in self.going:
            self.errors[one.name].append(found[one.name])
        beaten = [one for one in self.going if one is not self.best and self._is_beaten(one)]
        self.going = [one for one in self.going if one not in beaten]

    def _told(self, iteration: int) -> Iterator[tuple[Candidate, Tell]]:
        """Give each candidate, and what reports its part of an iteration."""
        for place, one in enumerate(self.going):
            yield one, partial(self._report, iteration, place)

    def _report(self, iteration: int, place: int, share: float) -> None:
        done = iteration + (place + share) / len(self.going)
        self.progress.report(done, patterns=self.n_patterns / QUARTERS)

    def choose(self) -> Candidate:
        """Return the best one, and say so where there are others."""
        best = self.best
        for one in self.going:
            if one is not best:
                _tell(self.errors, best.name, one.name)
        return best

    def tensors(self) -> dict[str, Tensor]:
        """Give what every rank has of the candidates that are refined, and that changes, by name."""
        return {
            f"{one.name}{_SEPARATOR}{name}": value
            for one in self.going
            for name, value in one.refiner.tensors().items()
        }

    def parts(self) -> dict[str, dict[str, Tensor]]:
        """Give what only this rank has of them, by parts."""
        return {f"{one.name}.{part}": held for one in self.going for part, held in one.refiner.parts().items()}

    def restore(self, errors: Mapping[str, Sequence[float]], tensors: Mapping[str, Tensor], read: ReadPart) -> None:
        """Restore what :meth:`tensors`, :meth:`parts` and ``errors`` were; candidates without tensors were given up."""
        self.errors = {name: list(values) for name, values in errors.items()}
        held = {name.partition(_SEPARATOR)[0] for name in tensors}
        self.going = [one for one in self.going if one.name in held]
        for one in self.going:
            prefix = f"{one.name}{_SEPARATOR}"
            own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            one.refiner.restore(own, partial(_read_of, one.name, read))

    def _is_beaten(self, one: Candidate) -> bool:
        leader = self.best
        if not is_beaten(self.errors[one.name], self.errors[leader.name], self.total, self.cooling):
            return False
        _tell(self.errors, leader.name, one.name)
        return True

    def _give_up_broken(self, found: Mapping[str, float], iteration: int) -> None:
        broken = [one for one in self.going if not math.isfinite(found[one.name])]
        told = ", ".join(f"{found[one.name]} from {one.name}" for one in broken)
        if len(broken) == len(self.going):
            msg = (
                f"the Fourier error of iteration {iteration + 1} is {told}; expected a finite number. Make "
                "refine.object_step and refine.probe_step smaller, or start from another object."
            )
            raise RefinementError(msg)
        if broken:
            logger.warning("the Fourier error of iteration %d is %s; going on without that", iteration + 1, told)
            self.going = [one for one in self.going if one not in broken]


def _read_of(candidate: str, read: ReadPart, part: str) -> Mapping[str, Tensor]:
    return read(f"{candidate}.{part}")


def _tell(errors: Mapping[str, Sequence[float]], leader: str, other: str) -> None:
    logger.info(
        "after %d iterations the refinement from %s has a Fourier error of %.4f, that from %s %.4f: the one from %s "
        "is kept",
        len(errors[leader]), leader, errors[leader][-1], other, errors[other][-1], leader,
    )  # fmt: skip


def make_candidates(payload: RefinePayload, context: RankContext, scan: Scan) -> Candidates:
    """Prepare a refinement from each start of a payload; measured amplitudes are read once for all.

    Raises
    ------
    DataFormatError
        If the start does not belong to the scan.
    """
    config, data = payload.refine_config, payload.data_config
    execution = payload.execution_config
    reader = make_reader(scan, data, execution, context)
    paths = {NETWORK: config.start, ONES: None}
    parts = cut_tiles(reader, config)
    made = []
    for name in _STARTS[config.start_from]:
        beginning = begin(read_start(scan, paths[name], data.propagation), reader, data, config)
        loops = execution.cpu_loops
        refiner = tiled(beginning, parts, loops) if parts else make_refiner(beginning, reader, loops)
        made.append(Candidate(name, refiner, beginning))
    return Candidates(made, config.iterations, config.cooling or 0.0, payload.n_patterns, context.progress)
