"""Simulate a scan and write it, chunk by chunk."""

from __future__ import annotations

import logging
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho_dist.config.command_settings import SPATIAL
from ptycho_dist.config.simulate import SimulateConfig
from ptycho_dist.data.formats.ptycho_dist_h5_ranks import write_scan_h5_on_ranks
from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent
from ptycho_dist.data.scan import open_scan
from ptycho_dist.data.spatial import in_spatial_order, own_rows
from ptycho_dist.distributed.rank_group import RankGroup, SingleRank
from ptycho_dist.errors import ConfigError
from ptycho_dist.mapped_files import let_go
from ptycho_dist.physics.bodies import Body
from ptycho_dist.physics.intensity import ForwardModel
from ptycho_dist.physics.patches import PatchGeometry
from ptycho_dist.physics.propagators import FarField
from ptycho_dist.simulate.large_objects import object_on_ranks
from ptycho_dist.simulate.objects import PictureObject
from ptycho_dist.simulate.probes import ZonePlate, aberrated, incoherent_modes
from ptycho_dist.types import FloatArray, Shard

_logger = logging.getLogger(__name__)
_CHUNK = 16
"""Patterns that are computed at once and share a stream of random numbers."""
_MARGIN_PX = 2
_ABERRATION_STREAM = 0
"""Beside the streams of noise, which start at 1."""
_GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))


def simulate(config: SimulateConfig, ranks: RankGroup | None = None) -> Path:
    """Write a simulated scan in the project's HDF5 layout, with the true object and probe.

    The same configuration on one machine gives the same patterns, on any number of ranks.

    Parameters
    ----------
    config
        What to simulate.
    ranks
        Exchange with other ranks that simulate a part each; alone where None.

    Returns
    -------
    Path
        The file written.
    """
    ranks = ranks or SingleRank()
    positions = fermat_spiral(config.n_patterns, config.step_px, config.jitter_px, np.random.default_rng(config.seed))
    origin = np.floor(positions.min(axis=0)) - _MARGIN_PX
    rows, columns = (np.ceil(positions.max(axis=0)) - origin + config.N + _MARGIN_PX).astype(int)
    probe = np.sqrt(config.photons) * ranks.on_all_ranks(lambda: make_probe(config))
    own = own_rows(config.n_patterns, ranks.rank, ranks.world, _CHUNK)
    with (
        ranks.progress.stage("simulation", own.stop - own.start, "patterns", is_shared=False),
        _folder_beside(config.output_file, ranks) as folder,
        object_on_ranks(_picture_object(config), (int(rows), int(columns)), folder, ranks) as object_,
    ):
        content = _content(config, object_, positions, origin, probe.astype(np.complex64), own)
        content = replace(content, patterns=ranks.progress.counted(content.patterns))
        if config.order == SPATIAL:
            path = _write_spatially(config.output_file, content, own, ranks, folder)
        else:
            path = write_scan_h5_on_ranks(config.output_file, content, own, ranks)
    _logger.info("simulated %d patterns of %d px into %s", config.n_patterns, config.N, path)
    return path


def _content(
    config: SimulateConfig,
    object_: NDArray[np.complex64],
    positions: FloatArray,
    origin: FloatArray,
    probe: NDArray[np.complex64],
    own: Shard,
) -> ScanContent:
    return ScanContent(
        patterns=_Patterns(object_, positions - origin, probe, config.seed).of(own),
        positions_px=positions,
        probe=probe,
        object_=object_,
        object_origin_px=(float(origin[0]), float(origin[1])),
        pixel_size_m=config.pixel_size_m,
        energy_eV=config.energy_eV,
        detector_distance_m=config.detector_distance_m,
        metadata={"simulated": described(config)},
    )


def _write_spatially(path: Path, content: ScanContent, rows: Shard, ranks: RankGroup, folder: Path) -> Path:
    """Write a scan in spatial order: first as it is measured, for noise is drawn in that order, then from there."""
    measured = write_scan_h5_on_ranks(folder / path.name, replace(content, object_=None), rows, ranks)
    with ranks.on_all_ranks(lambda: open_scan(measured, known_checksum="not needed")) as scan:
        stored = in_spatial_order(content, scan.raw.patterns.read, rows)
        return write_scan_h5_on_ranks(path, stored, rows, ranks)


@contextmanager
def _folder_beside(path: Path, ranks: RankGroup) -> Iterator[Path]:
    """Folder beside a file, the same on every rank, that is removed at the end."""
    folder = path.with_name(f".{path.name}.measured-{ranks.all_gather(secrets.token_hex(4))[0]}.tmp")
    try:
        yield folder
    finally:
        if ranks.rank == 0:
            shutil.rmtree(folder, ignore_errors=True)


def described(config: SimulateConfig) -> dict[str, Any]:
    """Return the settings of a simulated scan as plain values, without the place of files."""
    names = {"output_file": config.output_file.name, "probe_file": config.probe_file and config.probe_file.name}
    return {**asdict(config), **names}


def make_probe(config: SimulateConfig) -> NDArray[np.complex128]:
    """Return the probe modes (P, N, N), of total energy 1.

    Raises
    ------
    ConfigError
        If those of ``simulate.probe_file`` do not suit.
    DataFormatError
        If that file is no scan.
    """
    if config.probe_file is None:
        modes = incoherent_modes(_zone_plate(config).probe(config.N), config.n_modes)
    else:
        modes = _supplied_modes(config.probe_file, config)
    if config.aberration_rad > 0:
        modes = aberrated(modes, config.aberration_rad, np.random.default_rng((config.seed, _ABERRATION_STREAM)))
    return modes


def _supplied_modes(path: Path, config: SimulateConfig) -> NDArray[np.complex128]:
    with open_scan(path) as scan:
        probe = scan.probe
    held = 0 if probe is None else len(probe)
    if probe is None or probe.shape[-1] != config.N or held < config.n_modes:
        msg = (
            f"simulate.probe_file = {path} holds {held} probe modes for patterns of {scan.header.N} pixels; expected "
            f"at least {config.n_modes} of {config.N} pixels. Change simulate.N or simulate.n_modes, or the file."
        )
        raise ConfigError(msg)
    modes = probe[: config.n_modes].astype(np.complex128)
    return np.asarray(modes / np.linalg.norm(modes))


@dataclass(frozen=True)
class _Patterns:
    """Noisy patterns of an object, chunk by chunk; the noise depends on seed and pattern only.

    Patches are moved in one way on every machine: the last bit of an intensity can decide on a count.
    """

    object_: NDArray[np.complex64]
    corners: FloatArray
    probe: NDArray[np.complex64]
    seed: int

    def of(self, rows: Shard) -> Iterator[NDArray[np.int64]]:
        """Yield chunks (n, N, N) of counts, of some rows in order."""
        canvas, model = torch.from_numpy(self.object_), ForwardModel(torch.from_numpy(self.probe), FarField())
        for start in range(rows.start, rows.stop, _CHUNK):
            corners = torch.from_numpy(self.corners[start : start + _CHUNK])
            where = PatchGeometry.build(corners, self.probe.shape[-1], self.object_.shape, Body.RECTANGLES)
            intensity = model.propagator.rearrange(model.counts(where.gather(canvas)))
            noise = np.random.default_rng((self.seed, 1 + start // _CHUNK))
            let_go(self.object_)
            yield noise.poisson(intensity.double().numpy())


def _picture_object(config: SimulateConfig) -> PictureObject:
    return PictureObject(
        amplitude=config.amplitude_picture,
        phase=config.phase_picture,
        amplitude_min=config.amplitude_min,
        phase_range_rad=config.phase_range_rad,
        seed=config.picture_seed,
    )


def _zone_plate(config: SimulateConfig) -> ZonePlate:
    return ZonePlate(
        pupil_radius=config.pupil_radius,
        central_stop=config.central_stop,
        defocus_m=config.defocus_m,
        pixel_size_m=config.pixel_size_m,
        energy_eV=config.energy_eV,
    )


def fermat_spiral(n_points: int, step_px: float, jitter_px: float, rng: np.random.Generator) -> FloatArray:
    """Return the points (y, x) of a Fermat spiral cut to a square, with jitter.

    Parameters
    ----------
    n_points
        Number of points B.
    step_px
        Square root of the area per point, in pixels.
    jitter_px
        Standard deviation of the random offset, in pixels.
    rng
        Source of the jitter.

    Returns
    -------
    ndarray, float64, shape (B, 2)
        Points around (0, 0), from the middle outwards.

    References
    ----------
    .. [1] Huang et al., Optimization of overlap uniformness for ptychography (2014), DOI 10.1364/OE.22.012634.
    """
    k = np.arange(2 * n_points + 8)  # a disc around a square holds pi / 2 times its points
    radius = step_px / np.sqrt(np.pi) * np.sqrt(k)
    angle = k * _GOLDEN_ANGLE
    points = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    chosen = np.sort(np.argsort(np.abs(points).max(axis=1), kind="stable")[:n_points])
    return np.asarray(points[chosen] + jitter_px * rng.standard_normal((n_points, 2)))
