"""Writer of Ptychodus pairs: patterns in one file, positions, probe and object in the product beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ptycho_dist.atomic import atomic_path
from ptycho_dist.data.formats.product_h5 import ProductGeometry, ProductWriter
from ptycho_dist.data.formats.ptycho_dist_h5_writer import PORTABLE, Rows, ScanContent, Storage, write_rows
from ptycho_dist.data.formats.writers.lengths import lengths_of
from ptycho_dist.data.formats.writers.registry import GEOMETRY, register_writer
from ptycho_dist.hdf5_files import writing
from ptycho_dist.types import Canvas, ProductMetadata

NAME = "ptychodus"


def product_beside(path: Path) -> Path:
    """Name of the product of a file of patterns: ``diffraction`` in it becomes ``product``, else that is added."""
    if "diffraction" in path.stem:
        return path.with_stem(path.stem.replace("diffraction", "product"))
    return path.with_stem(f"{path.stem}_product")


@register_writer(
    NAME,
    suffixes=(".h5", ".hdf5"),
    holds=("probe", "mask", "object_", "propagation", *GEOMETRY),
    needs=("probe", *GEOMETRY),
    companion=product_beside,
)
def write(path: Path, content: ScanContent) -> tuple[Path, ...]:
    """Write both files; an object of ones, as Ptychodus starts from, where the scan has none."""
    product = product_beside(path)
    with atomic_path(path) as temporary:
        N = _write_patterns(temporary, path, content)
        _write_product(product, content, N)
    return path, product


def _write_patterns(temporary: Path, path: Path, content: ScanContent) -> int:
    with writing(temporary) as file:
        rows = Rows(path, 0, len(content.positions_px), content.mask, Storage("patterns", PORTABLE))
        write_rows(file, content.patterns, rows)
        patterns = file["patterns"]
        N = int(patterns.shape[-1])
        pixel = lengths_of(content, N).detector_pixel_m
        patterns.attrs.update({"detector_pixel_width_m": pixel, "detector_pixel_height_m": pixel})
        file["indexes"] = np.arange(len(content.positions_px))
        file["bad_pixels"] = np.zeros((N, N), np.bool_) if content.mask is None else ~content.mask
    return N


def _write_product(path: Path, content: ScanContent, N: int) -> None:
    object_, origin = content.object_, content.object_origin_px
    if object_ is None or origin is None:
        canvas = Canvas.around(content.positions_px, N)
        object_, origin = np.ones(canvas.shape, np.complex64), canvas.origin_px
    geometry = ProductGeometry(N=N, pixel_size_m=content.pixel_size_m, object_origin_px=origin)
    metadata = ProductMetadata(
        name=path.stem,
        detector_object_distance_m=content.detector_distance_m,
        probe_energy_eV=content.energy_eV,
        exposure_time_s=0.0,
        propagation=content.propagation,
    )
    with ProductWriter(path, metadata, (object_.shape[0], object_.shape[1]), geometry) as writer:
        writer.write_object_tile((0, 0), np.asarray(object_, np.complex64))
        writer.write_probe(np.asarray(content.probe))
        writer.write_positions(content.positions_px)
