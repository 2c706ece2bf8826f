"""Settings and model for the object so far, made of the first patterns of a scan as if they were all of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho_dist.data.formats.base import RawScan, Turn
from ptycho_dist.data.scan import Scan
from ptycho_dist.factory.inference import Trained, inference_payload
from ptycho_dist.factory.settings import data_of, execution_of, reader_options
from ptycho_dist.inference.patch_store import place_model
from ptycho_dist.inference.run import load_model
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.live.arrivals import Arrived
from ptycho_dist.live.interim import InterimObject
from ptycho_dist.nn.registry import network_names
from ptycho_dist.physics.patches import PatchGeometry, extract_at, place_at
from ptycho_dist.physics.propagators import make_propagator
from ptycho_dist.probe_start import with_own_start_probe
from ptycho_dist.types import FAR_FIELD, Canvas, IntArray, ScanHeader

_SMALL = 16
_UNITS = ("pixel_size_m", "energy_eV", "detector_distance_m")


@dataclass(frozen=True)
class MemoryPatterns:
    """Counts in memory, as a source of patterns.

    Parameters
    ----------
    counts
        Shape (B, N, N).
    """

    counts: NDArray[Any]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(B, N, N)."""
        B, rows, columns = self.counts.shape
        return B, rows, columns

    def read(self, index: IntArray) -> NDArray[Any]:
        """Return the rows ``index`` as a new array."""
        return np.asarray(self.counts[index])

    def unwritten(self) -> IntArray:
        """Return no number: all are there."""
        return np.empty(0, np.int64)

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Beginning:
    """What makes the object so far: a trained network, settings, and the place of this process.

    Parameters
    ----------
    trained
        Network, and what was given.
    context
        Place of this process.
    folder
        Folder for what is written on the way.
    """

    trained: Trained
    context: RankContext
    folder: Path

    def scan_of(self, raw: RawScan, arrived: Arrived) -> Scan:
        """Make a scan of the first patterns, with the probe that is predicted with, if need be one that is found."""
        levels = self.trained.levels
        held = replace(
            raw,
            patterns=MemoryPatterns(arrived.counts),
            positions_px=arrived.positions_px,
            fftshift=False,
            square=False,
            turn=Turn(),
            counts_per_photon=1.0,
            mean_counts=None,
            companions=(),
            clips_negative=False,
        )
        options = reader_options(levels)
        units = {name: _known(getattr(raw, name), getattr(options, name)) for name in _UNITS}
        mean = float(arrived.counts.sum(dtype=np.float64)) / len(arrived)
        header = ScanHeader(
            path=self.folder / "live",
            format_name=raw.format_name,
            n_patterns=len(arrived),
            N=arrived.counts.shape[-1],
            n_modes=0 if raw.probe is None else len(raw.probe),
            mean_counts=mean,
            nphotons=raw.nphotons,
            checksum="live",
            probe_mask_px=None if raw.probe_mask is None else int(raw.probe_mask.sum()),
            canvas_px=math.prod(Canvas.around(arrived.positions_px, arrived.counts.shape[-1]).shape),
            conversions=raw.conversions,
            units_known=math.isfinite(units["pixel_size_m"]),
            **units,
        )
        scan = Scan(header, held, options, ())
        if self.trained.probe_from == "bundle":
            return scan
        return with_own_start_probe(scan, (data_of(levels), execution_of(levels), self.context))

    def interim(self, scan: Scan) -> InterimObject:
        """Make the model that predicts with the probe of the scan, or of the bundle."""
        payload = inference_payload(self.trained, scan, self.folder)
        model, _ = load_model(payload, scan)
        return InterimObject(place_model(model, payload.execution_config, self.context.local_rank), payload)


def warm_up() -> None:
    """Load what the first prediction needs, while nothing has arrived yet: compiled loops, networks, propagators."""
    network_names()
    canvas = torch.ones(_SMALL, _SMALL, dtype=torch.complex64)
    where = PatchGeometry.build(torch.full((2, 2), 0.5, dtype=torch.float64), _SMALL // 2, (_SMALL, _SMALL))
    place_at(extract_at(canvas, where), where)
    make_propagator(FAR_FIELD, _SMALL, canvas)
    place_at(extract_at(canvas.real.contiguous(), where), where)


def _known(in_file: float, given: float | None) -> float:
    return in_file if given is None or math.isfinite(in_file) else given
