"""Scans of :mod:`benchmarks.training_matrix`: rasters and spirals, narrow and wide probes, doses and faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho_dist.config.simulate import SimulateConfig
from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent, write_scan_h5
from ptycho_dist.data.set_index import entry_of, write_index
from ptycho_dist.physics.intensity import ForwardModel
from ptycho_dist.physics.patches import extract
from ptycho_dist.physics.propagators import FarField
from ptycho_dist.physics.sampling import probe_diameter
from ptycho_dist.simulate.objects import PictureObject
from ptycho_dist.simulate.run import fermat_spiral, make_probe
from ptycho_dist.types import FloatArray

NARROW_M, MIDDLE_M, WIDE_M = 6e-5, 1.2e-4, 2.4e-4
"""Defocus of probes of about 15, 22 and 39 pixels, at any N."""
_LOW, _HIGH = 1e3, 1e5
_CHUNK, _MARGIN_PX, _JITTER = 64, 2, 0.2


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A scan, and how a network is trained on it.

    Parameters
    ----------
    step_percent
        Root of the area of a pattern over the diameter of the probe.
    N, n_patterns
        Pixels along one side of a pattern, and how many there are; of rasters a square.
    layout
        raster, jittered or spiral.
    defocus_m, photons
        Of the true probe; photons in a frame.
    fault
        What is wrong with the file: dead row, beam stop, defocus, doses; empty for nothing.
    is_masked
        Whether the file has a mask that leaves the fault out.
    is_pretrained
        Whether the training starts from the network that ships.
    """

    step_percent: float = 20
    N: int = 64
    n_patterns: int = 196
    layout: str = "spiral"
    defocus_m: float = MIDDLE_M
    photons: float = 1e5
    fault: str = ""
    is_masked: bool = False
    is_pretrained: bool = True

    def write(self, path: Path) -> Path:
        """Write the scan; with mixed doses a folder of four."""
        if self.fault != "doses":
            return _write_scan(self, path, 0)
        doses = (_LOW, _HIGH, _LOW, _HIGH)
        folder = path.with_suffix("")
        folder.mkdir()
        scans = (replace(self, photons=photons, fault="") for photons in doses)
        files = [_write_scan(scan, folder / f"{number}.h5", number) for number, scan in enumerate(scans)]
        write_index(folder, [entry_of(file) for file in files])
        return folder


STEPS = {
    "2 % raster": Cell(step_percent=2, layout="raster", n_patterns=3600, defocus_m=NARROW_M),
    "2 % spiral wide": Cell(step_percent=2, n_patterns=1600, defocus_m=WIDE_M),
    "5 % raster wide": Cell(step_percent=5, layout="raster", n_patterns=400, defocus_m=WIDE_M),
    "5 % spiral 128": Cell(step_percent=5, n_patterns=400, N=128),
    "10 % jittered": Cell(step_percent=10, layout="jittered", n_patterns=400),
    "10 % raster wide 128": Cell(step_percent=10, layout="raster", n_patterns=225, N=128, defocus_m=WIDE_M),
    "20 % spiral narrow": Cell(n_patterns=225, defocus_m=NARROW_M),
    "20 % raster wide 256": Cell(layout="raster", n_patterns=64, N=256, defocus_m=WIDE_M),
    "40 % spiral": Cell(step_percent=40, n_patterns=144),
    "40 % raster narrow 128": Cell(step_percent=40, layout="raster", n_patterns=144, N=128, defocus_m=NARROW_M),
    "60 % spiral": Cell(step_percent=60, n_patterns=144),
    "60 % jittered wide 128": Cell(step_percent=60, layout="jittered", n_patterns=100, N=128, defocus_m=WIDE_M),
    "60 % raster narrow 256": Cell(step_percent=60, layout="raster", n_patterns=64, N=256, defocus_m=NARROW_M),
}
"""Scans by their step; N is 64 and the probe 22 pixels wide where not said."""
FAULTS = {
    "1e2 photons": Cell(photons=1e2),
    "1e4 photons": Cell(photons=1e4),
    "1e7 photons": Cell(photons=1e7),
    "dead row": Cell(fault="dead row"),
    "dead row masked": Cell(fault="dead row", is_masked=True),
    "beam stop": Cell(fault="beam stop"),
    "beam stop masked": Cell(fault="beam stop", is_masked=True),
    "defocus 2x": Cell(fault="defocus"),
    "doses 1:100": Cell(fault="doses", n_patterns=100),
}
"""What a training has to bear."""
_AGAIN = ("5 % raster wide", "20 % spiral narrow", "60 % spiral", "1e2 photons", "1e7 photons", "doses 1:100")
UNTRAINED = {f"{name}, untrained": replace((STEPS | FAULTS)[name], is_pretrained=False) for name in _AGAIN}
"""Some of them again, from an untrained network."""
CELLS = STEPS | FAULTS | UNTRAINED


def _write_scan(cell: Cell, path: Path, seed: int) -> Path:
    config = SimulateConfig(output_file=path, N=cell.N, defocus_m=cell.defocus_m, seed=seed)
    probe = make_probe(config)
    positions = positions_of(cell, probe_diameter(probe), seed)
    origin = np.floor(positions.min(axis=0)) - _MARGIN_PX
    rows, columns = (np.ceil(positions.max(axis=0)) - origin + cell.N + _MARGIN_PX).astype(int)
    object_ = _object(config).make((int(rows), int(columns)))
    valid = _valid(cell)
    supplied = probe if cell.fault != "defocus" else make_probe(replace(config, defocus_m=2 * cell.defocus_m))
    scale = np.sqrt(cell.photons)
    return write_scan_h5(path, ScanContent(
        patterns=_patterns(object_, positions - origin, probe * scale, valid, seed), positions_px=positions,
        probe=(supplied * scale).astype(np.complex64), mask=valid if cell.is_masked else None, object_=object_,
        object_origin_px=(float(origin[0]), float(origin[1])), pixel_size_m=config.pixel_size_m,
        energy_eV=config.energy_eV, detector_distance_m=config.detector_distance_m))  # fmt: skip


def positions_of(cell: Cell, diameter_px: float, seed: int) -> FloatArray:
    """Corners (y, x) of the patches, float64, shape (B, 2)."""
    step_px, random = cell.step_percent / 100 * diameter_px, np.random.default_rng(seed)
    jitter_px = _JITTER * step_px if cell.layout == "jittered" else 0.0
    if cell.layout == "spiral":
        return fermat_spiral(cell.n_patterns, step_px, jitter_px, random)
    across = round(np.sqrt(cell.n_patterns))
    places = np.stack(np.divmod(np.arange(across**2), across), axis=1) * step_px
    return np.asarray(places + jitter_px * random.standard_normal(places.shape))


def _object(config: SimulateConfig) -> PictureObject:
    return PictureObject(
        amplitude=config.amplitude_picture,
        phase=config.phase_picture,
        amplitude_min=config.amplitude_min,
        phase_range_rad=config.phase_range_rad,
        seed=config.picture_seed,
    )


def _valid(cell: Cell) -> NDArray[np.bool_]:
    """Pixels (N, N) that see light: all but a row beside the middle, or all but a disc around it."""
    valid = np.ones((cell.N, cell.N), np.bool_)
    middle = cell.N // 2
    if cell.fault == "dead row":
        valid[middle + cell.N // 16] = False
    if cell.fault == "beam stop":
        y, x = np.ogrid[: cell.N, : cell.N]
        valid &= (y - middle) ** 2 + (x - middle) ** 2 > (cell.N / 16) ** 2
    return valid


def _patterns(
    object_: NDArray[np.complex64], corners: FloatArray, probe: NDArray[Any], valid: NDArray[np.bool_], seed: int
) -> Iterator[NDArray[np.int64]]:
    """Yield chunks (n, N, N) of counts; pixels that see no light hold none."""
    model = ForwardModel(torch.from_numpy(probe.astype(np.complex64)), FarField())
    random = np.random.default_rng((seed, 1))
    for start in range(0, len(corners), _CHUNK):
        some = torch.from_numpy(corners[start : start + _CHUNK])
        waves = extract(torch.from_numpy(object_), some, probe.shape[-1])
        intensity = model.propagator.rearrange(model.counts(waves)).double().numpy()
        yield random.poisson(intensity) * valid
