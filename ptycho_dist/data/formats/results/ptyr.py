"""Reconstructions as ptypy stores them (``.ptyr``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptycho_dist.atomic import atomic_path
from ptycho_dist.data.formats.product import Product
from ptycho_dist.data.formats.results.registry import register_result_writer
from ptycho_dist.data.formats.writers.ptypy_nodes import mark_file, write_node
from ptycho_dist.hdf5_files import writing

NAME = "ptyr"
STORAGE = "Sscan00G00"


@register_result_writer(NAME, suffixes=(".ptyr",), needs_units=True)
def write(path: Path, product: Product) -> tuple[Path, ...]:
    """Write object, probe and positions; the centre of a patch is position / psize + ``_center`` of the object."""
    geometry = product.geometry
    centre = np.rint(-np.asarray(geometry.object_origin_px)).astype(np.int64)
    half = np.full(2, geometry.N // 2)
    inside = product.positions_px - geometry.object_origin_px
    with atomic_path(path) as temporary, writing(temporary) as file:
        mark_file(file)
        write_node(file, "header", {"kind": "minimal", "description": "Ptypy .h5 compatible storage format"})
        content = write_node(file, "content", {})
        _write_storage(content, "obj", product.object_[None], centre, product)
        _write_storage(content, "probe", product.probe, half, product)
        write_node(content, "positions", {STORAGE: (inside + half - centre) * geometry.pixel_size_m})
        write_node(content, "pars", {})
        write_node(content, "runtime", {})
    return (path,)


def _write_storage(
    content: h5py.Group, name: str, data: NDArray[np.complex64], centre: NDArray[np.int64], product: Product
) -> None:
    pixel = product.geometry.pixel_size_m
    values: dict[str, Any] = {
        "ID": STORAGE,
        "data": np.asarray(data, np.complex64),
        "_psize": np.full(2, pixel),
        "_center": centre,
        "_origin": -centre * pixel,
        "_energy": product.metadata.probe_energy_eV / 1e3,
        "shape": np.array(data.shape),
        "layermap": np.arange(len(data)),
    }
    write_node(content, name, {STORAGE: values})
