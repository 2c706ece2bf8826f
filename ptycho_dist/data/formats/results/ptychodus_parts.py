"""What a Ptychodus product says of a scan: positions by index, probe, lengths; of HDF5, NPZ and CXI."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats import checks, npz
from ptycho_dist.data.formats.base import NAN, ComplexArray
from ptycho_dist.data.formats.hdf5_links import load_array, load_attributes, locate, shape_of
from ptycho_dist.data.formats.hdf5_numbers import single_number
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray, IntArray

_OWN = "entry_1/ptychodus"
_CXI = {
    "probe": "entry_1/image_1/data",
    "probe_position_indexes": f"{_OWN}/probe_position_indexes",
    "object_pixel_width_m": f"{_OWN}/object_pixel_width_m",
    "detector_object_distance_m": "entry_1/instrument_1/detector_1/distance",
    "photon_energy_J": "entry_1/instrument_1/source_1/energy",
}
_TRANSLATION = "entry_1/sample_1/geometry_1/translation"
_ELEMENTARY_CHARGE_C = 1.602176634e-19
Get = Callable[[str], NDArray[Any] | None]


@dataclass(frozen=True, kw_only=True)
class ProductParts:
    """A product as far as it says something of the scan.

    Parameters
    ----------
    indexes
        int64, shape (B,): number of each position.
    centres_m
        float64, shape (B, 2): centres of patches (y, x).
    probe
        complex64, shape (P, N, N): modes of the first coherent probe; None where that is zero or not square.
    pixel_size_m, energy_eV, distance_m
        NaN where unknown.
    """

    indexes: IntArray
    centres_m: FloatArray
    probe: ComplexArray | None
    pixel_size_m: float = NAN
    energy_eV: float = NAN
    distance_m: float = NAN


def read_parts(path: Path) -> ProductParts:
    """Read a product of any age.

    Raises
    ------
    DataFormatError
        If it is damaged, or holds no positions.
    """
    get = _getter(path)
    y, x = (get(f"probe_position_{axis}_m") for axis in "yx")
    if y is None or x is None or y.shape != x.shape:
        msg = (
            f"{path} holds no probe_position_y_m and probe_position_x_m of equal length; expected a product. Export it."
        )
        raise DataFormatError(msg)
    centres = checks.checked_positions(path, np.stack([y.ravel(), x.ravel()], axis=1), y.size)
    indexes = get("probe_position_indexes")
    numbers = np.arange(len(centres)) if indexes is None else indexes.ravel()
    if len(numbers) != len(centres) or numbers.dtype.kind not in "iu":
        msg = f"{path} holds {numbers.dtype} {numbers.shape} indexes for {len(centres)} positions; expected as many."
        raise DataFormatError(msg)

    def value(*names: str) -> float:
        held = [single_number(path, name, array) for name in names if (array := get(name)) is not None]
        return next((one for one in held if one > 0), NAN)

    joule = value("photon_energy_J")
    return ProductParts(
        indexes=numbers.astype(np.int64),
        centres_m=centres,
        probe=_probe(path, get("probe")),
        pixel_size_m=value("object_pixel_width_m", "pixel_width_m"),
        energy_eV=joule / _ELEMENTARY_CHARGE_C if joule > 0 else value("photon_energy_eV", "probe_energy_eV"),
        distance_m=value("detector_object_distance_m"),
    )


def _probe(path: Path, values: NDArray[Any] | None) -> ComplexArray | None:
    if values is None or values.dtype.kind != "c" or values.ndim < 2 or not np.any(values):
        return None
    first = values[0] if values.ndim == 4 else values
    if first.shape[-1] != first.shape[-2]:
        return None
    return checks.checked_probe(path, "probe", first)


def _getter(path: Path) -> Get:
    if zipfile.is_zipfile(path):
        names = npz.member_names(path)
        return lambda name: npz.load_member(path, name) if name in names else None
    if locate(path, _TRANSLATION) is not None:
        return lambda name: _from_cxi(path, name)
    return lambda name: _from_hdf5(path, name)


def _from_hdf5(path: Path, name: str) -> NDArray[Any] | None:
    found = shape_of(path, name)
    if found is not None:
        return load_array(path, name)
    root = load_attributes(path, "")
    of_object = load_attributes(path, "object") if shape_of(path, "object") is not None else {}
    value = root.get(name, of_object.get(name))
    return None if value is None else np.asarray(value)


def _column(path: Path, column: int) -> NDArray[Any]:
    values = load_array(path, _TRANSLATION)
    if values.ndim != 2 or values.shape[1] < 2:
        msg = f"{_TRANSLATION!r} in {path} has shape {values.shape}; expected (B, 3) in metres. Export it again."
        raise DataFormatError(msg)
    return values[:, column]


def _from_cxi(path: Path, name: str) -> NDArray[Any] | None:
    if name in ("probe_position_y_m", "probe_position_x_m"):
        return _column(path, 1 if name == "probe_position_y_m" else 0)
    key = _CXI.get(name)
    return load_array(path, key) if key is not None and locate(path, key) is not None else None
