"""Reader of ptypy's reconstructions (``.ptyr``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats import checks
from ptycho_dist.data.formats.hdf5_links import load_array, members
from ptycho_dist.data.formats.hdf5_numbers import load_numbers, number
from ptycho_dist.data.formats.product import Product, ProductGeometry
from ptycho_dist.data.formats.results.parts import single, square_pixel
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import ProductMetadata


def detect(path: Path) -> bool:
    """Tell whether an HDF5 file is a reconstruction of ptypy."""
    return {"obj", "probe"} <= set(members(path, "content"))


def read(path: Path) -> Product:
    """Read the first object and probe of a reconstruction with positions.

    The corner of a patch in pixels of the object is position / psize + ``_center`` of the object - ``_center`` of the
    probe.

    Raises
    ------
    DataFormatError
        If it holds several storages or modes of the object, or no positions.
    """
    names = [_only(path, kind) for kind in ("obj", "probe")]
    obj, probe = (f"content/{kind}/{name}" for kind, name in zip(("obj", "probe"), names, strict=True))
    pixel = square_pixel(path, load_numbers(path, f"{obj}/_psize"))
    data = single(path, f"{obj}/data", load_array(path, f"{obj}/data"), 2)
    modes = checks.checked_probe(path, f"{probe}/data", load_array(path, f"{probe}/data"))
    half, centre = (_pair(path, f"{one}/_center") for one in (probe, obj))
    corners = _positions(path, names[0]) / pixel + centre - half
    energy = number(path, f"{obj}/_energy") * 1e3
    return Product(
        object_=data,
        probe=modes,
        positions_px=corners,
        indexes=np.arange(len(corners)),
        geometry=ProductGeometry(N=modes.shape[-1], pixel_size_m=pixel),
        metadata=ProductMetadata(name=path.stem, probe_energy_eV=energy),
        losses=np.empty(0),
        loss_epochs=np.empty(0, np.int64),
    )


def _only(path: Path, kind: str) -> str:
    names = members(path, f"content/{kind}")
    if len(names) != 1:
        msg = f"{path} holds {len(names)} storages of {kind} ({', '.join(names)}); expected one. Save one scan alone."
        raise DataFormatError(msg)
    return names[0]


def _positions(path: Path, storage: str) -> NDArray[np.float64]:
    if storage not in members(path, "content/positions"):
        msg = (
            f"{path} holds no positions, as files of ptypy before 2019 and of kind used_params; expected content/"
            f"positions/{storage}. Save the reconstruction with ptypy's kind 'minimal'."
        )
        raise DataFormatError(msg)
    positions = load_array(path, f"content/positions/{storage}")
    return checks.checked_positions(path, positions, positions.shape[0] if positions.ndim else 0)


def _pair(path: Path, key: str) -> NDArray[np.float64]:
    values = load_numbers(path, key).ravel()
    if values.shape != (2,) or not np.isfinite(values).all():
        msg = f"{key!r} in {path} is {values[:4].tolist()}; expected two pixels (row, column). Save the file again."
        raise DataFormatError(msg)
    return values
