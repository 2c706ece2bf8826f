"""What every refinement of a job is made of: estimates at the start, and refiners of the whole scan or a part."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ptycho_dist.data.formats.base import BoolArray
from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.devices import device_of, dtype_of
from ptycho_dist.factory.payload import RefinePayload
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.physics.optics import support_of
from ptycho_dist.physics.propagators import make_propagator, propagation_of
from ptycho_dist.physics.thinning import Half
from ptycho_dist.refine.amplitudes import AmplitudeReader
from ptycho_dist.refine.batching import Batching, make_batching
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.initial import Start, make_estimate, read_start
from ptycho_dist.refine.iteration import Refiner
from ptycho_dist.refine.methods import Method, make_method
from ptycho_dist.types import Canvas, IntArray


@dataclass(frozen=True)
class Parts:
    """Scan, settings and start of a job.

    Parameters
    ----------
    payload
        Settings.
    reader
        Reads the whole patterns.
    start
        What is started from.
    mask_NN, support_NN
        Valid pixels in detector order; where the probe may differ from zero. None where all are, or anywhere.
    """

    payload: RefinePayload
    reader: AmplitudeReader
    start: Start
    mask_NN: Tensor | None
    support_NN: Tensor | None

    @classmethod
    def of(cls, payload: RefinePayload, context: RankContext, scan: Scan) -> Parts:
        """Read what is needed of a scan and of the start.

        Raises
        ------
        DataFormatError
            If the start does not belong to the scan.
        """
        data, execution, N = payload.data_config, payload.execution_config, scan.header.N
        device = device_of(execution.accelerator, context.local_rank)
        like = torch.zeros((), dtype=dtype_of(execution.precision), device=device)
        propagator = make_propagator(propagation_of(data, scan.header), N, torch.complex(like, like))
        support, mask = support_of(N, data.probe_support_px, _tensor(scan.probe_mask)), _tensor(scan.mask)
        return cls(
            payload,
            AmplitudeReader(scan, propagator, like, context),
            read_start(scan, payload.refine_config.start, data.propagation),
            mask_NN=None if mask is None else propagator.arrange(mask.to(device)),
            support_NN=None if support is None else support.to(device),
        )

    @property
    def scan(self) -> Scan:
        """The open scan."""
        return self.reader.scan

    def estimate(self) -> tuple[Estimate, Canvas]:
        """Make a new estimate, as the start has it."""
        configs = (self.payload.data_config, self.payload.refine_config)
        return make_estimate(self.start, self.scan, configs, self.reader.like, self.support_NN)

    def refiner(self, estimate: Estimate) -> Refiner:
        """Refine an estimate as the settings say."""
        config = self.payload.refine_config
        return self._refiner(estimate, make_method(config, estimate), make_batching(config, estimate))

    def of_half(self, estimate: Estimate, half: Half, chosen: IntArray) -> Refiner:
        """Refine object and probe by the method of the settings, on half the photons of some patterns."""
        config = replace(self.payload.refine_config, position_start=None)
        batching = make_batching(config, estimate).some(chosen)
        made = self._refiner(estimate, make_method(config, estimate), batching)
        reader = replace(self.reader, half=half)
        return replace(made, config=config, background="none", fixes_flux=True, reader=reader)

    def with_fixed_optics(self, estimate: Estimate, method: Method, batching: Batching, half: Half | None) -> Refiner:
        """Refine the object alone by another method, on all photons where no half is named."""
        own = self.payload.refine_config
        config = replace(own, momentum=0.0, cooling=0.0, probe_step=0.0, position_start=None)
        made = self._refiner(estimate, method, batching)
        reader = replace(self.reader, half=half)
        return replace(made, config=config, background="none", fixes_flux=True, reader=reader)

    def _refiner(self, estimate: Estimate, method: Method, batching: Batching) -> Refiner:
        config = self.payload.refine_config
        return Refiner(
            config=config,
            estimate=estimate,
            method=method,
            batching=batching,
            reader=self.reader,
            mask_NN=self.mask_NN,
            memory_bytes=int(config.memory_GiB * 2**30),
            support_NN=self.support_NN,
            background=self.payload.data_config.background,
        )


def _tensor(array: BoolArray | None) -> Tensor | None:
    return None if array is None else torch.from_numpy(array)
