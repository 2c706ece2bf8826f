"""From settings and a start to what refines."""

from __future__ import annotations

import torch
from torch import Tensor

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.refine import RefineConfig
from ptycho_dist.config.schema import DataConfig
from ptycho_dist.data.formats.base import BoolArray
from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.devices import device_of, dtype_of
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.physics.optics import support_of
from ptycho_dist.physics.propagators import Propagator, make_propagator, propagation_of
from ptycho_dist.refine.amplitudes import AmplitudeReader
from ptycho_dist.refine.batching import make_batching
from ptycho_dist.refine.beginning import Beginning
from ptycho_dist.refine.fused import Fused
from ptycho_dist.refine.initial import Start
from ptycho_dist.refine.iteration import Refiner
from ptycho_dist.refine.methods import make_method
from ptycho_dist.types import Canvas


def make_reader(
    scan: Scan, data: DataConfig, execution: PyTorchExecutionConfig, context: RankContext
) -> AmplitudeReader:
    """Prepare to read the amplitudes of this rank's share, for its device and in the precision asked for."""
    device = device_of(execution.accelerator, context.local_rank)
    like = torch.zeros((), dtype=dtype_of(execution.precision), device=device)
    propagator = make_propagator(propagation_of(data, scan.header), scan.header.N, torch.complex(like, like))
    return AmplitudeReader(scan, propagator, like, context)


def begin(start: Start, reader: AmplitudeReader, data: DataConfig, config: RefineConfig) -> Beginning:
    """Lay a start out for the patterns of a reader."""
    scan = reader.scan
    support = support_of(scan.header.N, data.probe_support_px, _tensor(scan.probe_mask))
    return Beginning(start, scan, data, config, reader.like, _on(reader.like.device, support))


def make_refiner(beginning: Beginning, reader: AmplitudeReader, loops: str, canvas: Canvas | None = None) -> Refiner:
    """Prepare a refinement.

    Parameters
    ----------
    beginning
        What it starts from: object, probe and positions of the patterns that are read.
    reader
        Reads them.
    loops
        compiled or torch.
    canvas
        Where its object lies; the smallest one that holds all patches where None.
    """
    config, scan = beginning.config, beginning.scan
    estimate = beginning.estimate(canvas)
    mask = _arranged(scan.mask, reader.propagator, reader.like.device)
    return Refiner(
        config=config,
        estimate=estimate,
        method=make_method(config, estimate),
        batching=make_batching(config, estimate),
        reader=reader,
        mask_NN=mask,
        memory_bytes=int(config.memory_GiB * 2**30),
        support_NN=beginning.support_NN,
        background=beginning.data.background,
        fused=Fused.of(scan.header.N, mask, torch.get_num_threads()) if loops == "compiled" else None,
    )


def _arranged(mask: BoolArray | None, propagator: Propagator, device: torch.device) -> Tensor | None:
    return None if mask is None else propagator.arrange(torch.from_numpy(mask).to(device))


def _tensor(array: BoolArray | None) -> Tensor | None:
    return None if array is None else torch.from_numpy(array)


def _on(device: torch.device, values: Tensor | None) -> Tensor | None:
    return None if values is None else values.to(device)
