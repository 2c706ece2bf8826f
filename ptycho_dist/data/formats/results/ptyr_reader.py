"""Reader of ptypy's reconstructions (``.ptyr``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats import checks, hdf5
from ptycho_dist.data.formats.product import Product, ProductGeometry
from ptycho_dist.data.formats.results.parts import single, square_pixel
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import ProductMetadata


def detect(file: h5py.File) -> bool:
    """Tell whether an HDF5 file is a reconstruction of ptypy."""
    content = file.get("content")
    return isinstance(content, h5py.Group) and "obj" in content and "probe" in content


def read(path: Path) -> Product:
    """Read the first object and probe of a reconstruction with positions.

    The corner of a patch in pixels of the object is position / psize + ``_center`` of the object - ``_center`` of the
    probe.

    Raises
    ------
    DataFormatError
        If it holds several storages or modes of the object, or no positions.
    """
    with hdf5.reading(path) as file:
        names = [_only(path, file, kind) for kind in ("obj", "probe")]
        obj, probe = (f"content/{kind}/{name}" for kind, name in zip(("obj", "probe"), names, strict=True))
        pixel = square_pixel(path, _value(path, file, f"{obj}/_psize"))
        data = single(path, f"{obj}/data", _value(path, file, f"{obj}/data"), 2)
        modes = checks.checked_probe(path, f"{probe}/data", _value(path, file, f"{probe}/data"))
        half, centre = (np.asarray(_value(path, file, f"{one}/_center"), np.float64) for one in (probe, obj))
        corners = _positions(path, file, names[0]) / pixel + centre - half
        energy = float(_value(path, file, f"{obj}/_energy")) * 1e3 if "_energy" in file[obj] else float("nan")
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


def _only(path: Path, file: h5py.File, kind: str) -> str:
    names = list(file[f"content/{kind}"])
    if len(names) != 1:
        msg = f"{path} holds {len(names)} storages of {kind} ({', '.join(names)}); expected one. Save one scan alone."
        raise DataFormatError(msg)
    return str(names[0])


def _positions(path: Path, file: h5py.File, storage: str) -> NDArray[np.float64]:
    group = file["content"].get("positions")
    if group is None or storage not in group:
        msg = (
            f"{path} holds no positions, as files of ptypy before 2019 and of kind used_params; expected content/"
            f"positions/{storage}. Save the reconstruction with ptypy's kind 'minimal'."
        )
        raise DataFormatError(msg)
    positions = np.asarray(_value(path, file, f"content/positions/{storage}"))
    return checks.checked_positions(path, positions, len(positions))


def _value(path: Path, file: h5py.File, key: str) -> Any:
    return hdf5.require_dataset(file, path, key)[()]
