"""Simulate a scan and write it, chunk by chunk."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho_dist.config.simulate import SimulateConfig
from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent, write_scan_h5
from ptycho_dist.physics.patches import extract
from ptycho_dist.physics.propagation import far_field_intensity
from ptycho_dist.simulate.objects import PictureObject
from ptycho_dist.simulate.probes import ZonePlate, incoherent_modes
from ptycho_dist.simulate.scans import fermat_spiral
from ptycho_dist.types import FloatArray

_logger = logging.getLogger(__name__)
_CHUNK = 64
_MARGIN_PX = 2


def simulate(config: SimulateConfig) -> Path:
    """Write a simulated scan in the project's HDF5 layout, with the true object and probe.

    The same configuration on one machine gives the same patterns.

    Parameters
    ----------
    config
        What to simulate.

    Returns
    -------
    Path
        The file written.
    """
    rng = np.random.default_rng(config.seed)
    positions = fermat_spiral(config.n_patterns, config.step_px, config.jitter_px, rng)
    origin = np.floor(positions.min(axis=0)) - _MARGIN_PX
    rows, columns = (np.ceil(positions.max(axis=0)) - origin + config.N + _MARGIN_PX).astype(int)
    object_ = _picture_object(config).make((int(rows), int(columns)))
    probe = np.sqrt(config.photons) * incoherent_modes(_zone_plate(config).probe(config.N), config.n_modes)
    content = ScanContent(
        patterns=_patterns(object_, positions - origin, probe.astype(np.complex64), rng),
        positions_px=positions,
        probe=probe.astype(np.complex64),
        object_=object_,
        object_origin_px=(float(origin[0]), float(origin[1])),
        pixel_size_m=config.pixel_size_m,
        energy_eV=config.energy_eV,
        detector_distance_m=config.detector_distance_m,
        metadata={"simulated": {**asdict(config), "output_file": config.output_file.name}},
    )
    path = write_scan_h5(config.output_file, content)
    _logger.info("simulated %d patterns of %d px into %s", config.n_patterns, config.N, path)
    return path


def _patterns(
    object_: NDArray[np.complex64], corners: FloatArray, probe: NDArray[np.complex64], rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    canvas, modes = torch.from_numpy(object_), torch.from_numpy(probe)
    for start in range(0, len(corners), _CHUNK):
        patches = extract(canvas, torch.from_numpy(corners[start : start + _CHUNK]), probe.shape[-1])
        intensity = far_field_intensity(modes[:, None] * patches)
        yield rng.poisson(intensity.double().numpy())


def _picture_object(config: SimulateConfig) -> PictureObject:
    return PictureObject(
        amplitude=config.amplitude_picture,
        phase=config.phase_picture,
        amplitude_min=config.amplitude_min,
        phase_range_rad=config.phase_range_rad,
    )


def _zone_plate(config: SimulateConfig) -> ZonePlate:
    return ZonePlate(
        pupil_radius=config.pupil_radius,
        central_stop=config.central_stop,
        defocus_m=config.defocus_m,
        pixel_size_m=config.pixel_size_m,
        energy_eV=config.energy_eV,
    )
