"""Reconstructions as CXI, in the layout of Ptychodus: the probe is ``image_1``, the object ``image_2``."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ptycho_dist.atomic import atomic_path
from ptycho_dist.data.formats.product import Product
from ptycho_dist.data.formats.results.registry import LOSSES, register_result_writer
from ptycho_dist.data.formats.writers.cxi import write_entry
from ptycho_dist.hdf5_files import writing

NAME = "cxi"
OWN = "entry_1/ptychodus"
_TRANSLATION = "entry_1/sample_1/geometry_1/translation"


@register_result_writer(NAME, suffixes=(".cxi",), holds=(LOSSES,), needs_units=True)
def write(path: Path, product: Product) -> tuple[Path, ...]:
    """Write probe (1, P, N, N), object (1, H, W) and the centres of patches (x, y, 0) in metres."""
    with atomic_path(path) as temporary, writing(temporary) as file:
        metadata, geometry = product.metadata, product.geometry
        write_entry(file, metadata.probe_energy_eV, metadata.detector_object_distance_m, metadata.name or path.stem)
        _write_image(file, "image_1", product.probe[None], geometry.pixel_size_m)
        _write_image(file, "image_2", product.object_[None], geometry.pixel_size_m)
        file["entry_1/instrument_1/source_1/illumination"] = h5py.SoftLink("/entry_1/image_1/data")
        centres = geometry.centres_of_patches(product.positions_px)
        file[_TRANSLATION] = np.stack([centres[:, 1], centres[:, 0], np.zeros(len(centres))], axis=1)
        file["entry_1/data_1/translation"] = h5py.SoftLink(f"/{_TRANSLATION}")
        _write_own(file, product)
    return (path,)


def _write_image(file: h5py.File, name: str, data: NDArray[np.complex64], pixel_m: float) -> None:
    file[f"entry_1/{name}/data"] = np.asarray(data, np.complex64)
    file[f"entry_1/{name}/data_space"] = "real"
    file[f"entry_1/{name}/image_size"] = np.array([pixel_m * data.shape[-1], pixel_m * data.shape[-2], 0.0])


def _write_own(file: h5py.File, product: Product) -> None:
    geometry = product.geometry
    y, x = geometry.centre_of_object((product.object_.shape[0], product.object_.shape[1]))
    numbers = {
        "object_center_x_m": x,
        "object_center_y_m": y,
        "object_pixel_width_m": geometry.pixel_size_m,
        "object_pixel_height_m": geometry.pixel_size_m,
        "probe_pixel_width_m": geometry.pixel_size_m,
        "probe_pixel_height_m": geometry.pixel_size_m,
        "probe_position_indexes": product.indexes,
        "loss_epochs": product.loss_epochs,
        "loss_values": product.losses,
    }
    for name, value in numbers.items():
        file[f"{OWN}/{name}"] = value
