"""A refinement whose iterations are done, and what is refined further from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from ptycho_dist.config.refine import RefineConfig
from ptycho_dist.data.scan import Scan
from ptycho_dist.physics.thinning import Half
from ptycho_dist.refine.amplitudes import AmplitudeReader
from ptycho_dist.refine.batching import Batching, make_batching
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.iteration import Refiner
from ptycho_dist.refine.methods import Method, make_method
from ptycho_dist.types import IntArray


@dataclass(frozen=True)
class Iterated:
    """The refinement that was kept, after its iterations.

    Parameters
    ----------
    refiner
        Holds what was refined; its estimate is not changed any more.
    make_start
        Makes what it started from.
    """

    refiner: Refiner
    make_start: Callable[[], Estimate]

    @cached_property
    def start(self) -> Estimate:
        """What it started from, made when it is first asked for."""
        return self.make_start()

    @property
    def estimate(self) -> Estimate:
        """What was refined."""
        return self.refiner.estimate

    @property
    def config(self) -> RefineConfig:
        """Settings of the iterations."""
        return self.refiner.config

    @property
    def scan(self) -> Scan:
        """The open scan."""
        return self.refiner.reader.scan

    def reader(self, half: Half, sample: IntArray | None = None) -> AmplitudeReader:
        """Prepare to read half the photons of some patterns, or of all."""
        return replace(self.refiner.reader, half=half, sample=sample)

    def again(self, estimate: Estimate, reader: AmplitudeReader) -> Refiner:
        """Refine object and probe by the method of the settings, on what a reader of half the photons gives."""
        config = replace(self.config, position_start=None)
        parts = (make_method(config, estimate), make_batching(config, estimate))
        return self._refiner(config, estimate, parts, reader)

    def with_fixed_optics(self, estimate: Estimate, parts: tuple[Method, Batching], reader: AmplitudeReader) -> Refiner:
        """Refine the object alone by another method."""
        config = replace(self.config, momentum=0.0, cooling=0.0, probe_step=0.0, position_start=None)
        return self._refiner(config, estimate, parts, reader)

    def _refiner(
        self, config: RefineConfig, estimate: Estimate, parts: tuple[Method, Batching], reader: AmplitudeReader
    ) -> Refiner:
        """Positions, flux and background stay as they were found."""
        method, batching = parts
        return replace(
            self.refiner,
            config=config,
            estimate=estimate,
            method=method,
            batching=batching,
            reader=reader,
            background="none",
            fixes_flux=True,
            velocity_HW=None,
        )
