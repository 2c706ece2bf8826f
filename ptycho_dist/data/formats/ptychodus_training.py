"""Reader of training data that Ptychodus exports (HDF5): patterns, positions, probe and object in one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptycho_dist.data.formats import checks
from ptycho_dist.data.formats.base import ComplexArray, RawScan, ScanOptions
from ptycho_dist.data.formats.hdf5_frames import h5_frames
from ptycho_dist.data.formats.hdf5_links import load_array, shape_of
from ptycho_dist.data.formats.hdf5_numbers import number
from ptycho_dist.data.formats.measurement import PIXELS, Geometry, Measurement, Positions, as_valid
from ptycho_dist.data.formats.prepare import raw_scan_of
from ptycho_dist.data.formats.registry import register_format
from ptycho_dist.data.formats.results.parts import single, square_pixel

NAME = "ptychodus_training"
KEYS = ("patterns", "probe_position_x_px", "probe_position_y_px", "probe")


def detect(keys: Collection[str]) -> bool:
    """Tell whether an HDF5 file with these root names is training data of Ptychodus."""
    return all(key in keys for key in KEYS[:3])


@register_format(NAME, container="hdf5", keys=KEYS, detect=detect)
def open_raw(path: Path, options: ScanOptions) -> RawScan:
    """Open training data; positions are indices of patch centres in the object, whose middle is (W - 1) / 2.

    Raises
    ------
    DataFormatError
        If something is missing, damaged or of the wrong shape.
    """
    frames, companions = h5_frames(path, "patterns")
    count, N = frames.shape[0], min(frames.shape[1:])
    y, x = (load_array(path, f"probe_position_{axis}_px").ravel() for axis in "yx")
    checks.require_equal_lengths(path, ("probe_position_y_px", y), ("probe_position_x_px", x))
    centres = checks.checked_positions(path, np.stack([y, x], axis=1), count)
    sides = [number(path, f"object_pixel_{side}_m") for side in ("height", "width")]
    found = Measurement(
        format_name=NAME,
        frames=frames,
        positions=Positions(values=centres - (N - 1) / 2, unit=PIXELS),
        geometry=Geometry(
            energy_eV=number(path, ("photon_energy_eV", "probe_energy_eV")),
            detector_distance_m=number(path, "detector_object_distance_m"),
            pixel_size_m=square_pixel(path, sides) if np.isfinite(sides).all() else float("nan"),
        ),
        mask=as_valid(load_array(path, "bad_pixels"), nonzero_is_bad=True) if shape_of(path, "bad_pixels") else None,
        probe=checks.checked_probe(path, "probe", load_array(path, "probe")) if shape_of(path, "probe") else None,
        object_source=_Object(path) if shape_of(path, "object") else None,
        object_origin_px=np.zeros(2) if shape_of(path, "object") else None,
        companions=companions,
        conversions=("positions: patch centres became corners by -(N - 1)/2",),
    )
    return raw_scan_of(path, found, options)


@dataclass(frozen=True)
class _Object:
    """The object, loaded when it is asked for."""

    path: Path

    def load(self) -> ComplexArray:
        """Return the object, complex64 (H, W)."""
        return single(self.path, "object", load_array(self.path, "object"), 2)
