"""A probe from a part of a scan: a short refinement from ones, by one rank alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.refine import RefineConfig, defaults_of
from ptycho_dist.config.schema import DataConfig
from ptycho_dist.data.formats.base import ComplexArray
from ptycho_dist.data.scan import Scan
from ptycho_dist.launching.environment import RankContext, single_rank
from ptycho_dist.refine.initial import Start
from ptycho_dist.refine.prepare import begin, make_reader, make_refiner
from ptycho_dist.types import IntArray

_METHOD, _ALPHA, _PROBE_STEP = "pie", 1.0, 1.0


@dataclass(frozen=True)
class RefinedSample:
    """What a short refinement of some patterns has found.

    Parameters
    ----------
    probe
        Modes whose propagated waves square to the file's counts, complex64, shape (P, N, N).
    object_
        Object around the patterns, complex64, shape (H, W).
    fourier_error
        Of the last pass; NaN without one.
    """

    probe: ComplexArray
    object_: ComplexArray
    fourier_error: float


def refine_sample(
    scan: Scan,
    rows: IntArray,
    probe: ComplexArray,
    iterations: int,
    settings: tuple[DataConfig, PyTorchExecutionConfig, RankContext],
) -> RefinedSample:
    """Refine a probe, and an object of ones, with some patterns of a scan (ePIE).

    Calls no collective, so that one rank may do it for all.

    Parameters
    ----------
    scan
        Open scan.
    rows
        Pattern indices, int64, ascending; neighbours that overlap, in one place or several.
    probe
        Start, complex, shape (P, N, N).
    iterations
        Passes over the patterns.
    settings
        How the scan is read and its waves travel, the precision, and whose device works.
    """
    given, execution, context = settings
    data = replace(given, probe_trainable=True, n_modes=len(probe))
    reader = replace(make_reader(scan, data, execution, context), context=single_rank(), sample=rows)
    start = Start(None, np.zeros(2), probe, scan.positions_px[rows])
    refiner = make_refiner(begin(start, reader, data, _config(scan, iterations)), reader, execution.cpu_loops)
    error = math.nan
    for iteration in range(iterations):
        error = refiner.iterate(iteration)
    found = refiner.estimate
    probe, object_ = (one.cpu().numpy().astype(np.complex64) for one in (found.probe_PNN, found.object_HW))
    return RefinedSample(probe, object_, error)


def _config(scan: Scan, iterations: int) -> RefineConfig:
    defaults = defaults_of(_METHOD, _ALPHA) | {"probe_step": _PROBE_STEP}
    return RefineConfig(
        scan=scan.header.path,
        output_dir=scan.header.path.parent,
        start_from="ones",
        iterations=iterations,
        method=_METHOD,
        alpha=_ALPHA,
        batch_size=int(defaults["batch_size"]),
        object_step=defaults["object_step"],
        probe_step=defaults["probe_step"],
        momentum=defaults["momentum"],
        cooling=defaults["cooling"],
    )
