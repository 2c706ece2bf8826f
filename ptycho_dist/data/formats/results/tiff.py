"""Reconstructions as pictures of 32-bit numbers (TIFF): amplitude and phase of object and probe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from ptycho_dist.atomic import atomic_path
from ptycho_dist.data.formats.product import Product
from ptycho_dist.data.formats.results.registry import register_result_writer

_CENTIMETRE_M = 1e-2
_PARTS = ("object_amplitude", "object_phase", "probe_amplitude", "probe_phase")


def files(path: Path) -> tuple[Path, ...]:
    """Name the four files of a path such as ``sample.tif``: ``sample_object_phase.tif`` and so on."""
    return tuple(path.with_stem(f"{path.stem}_{part}") for part in _PARTS)


@register_result_writer("tiff", suffixes=(".tif", ".tiff"), files=files)
def write(path: Path, product: Product) -> tuple[Path, ...]:
    """Write amplitudes and phases (radians) as float32; of a probe a page for each mode."""
    arrays = (np.abs(product.object_), np.angle(product.object_), np.abs(product.probe), np.angle(product.probe))
    for target, array in zip(files(path), arrays, strict=True):
        _write(target, np.asarray(array, np.float32), product)
    return files(path)


def _write(path: Path, array: NDArray[np.float32], product: Product) -> None:
    options: dict[str, Any] = {}
    if product.geometry.units_known:
        per_centimetre = _CENTIMETRE_M / product.geometry.pixel_size_m
        options = {"resolution": (per_centimetre, per_centimetre), "resolutionunit": "CENTIMETER"}
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        tifffile.imwrite(stream, array, photometric="minisblack", bigtiff=array.nbytes > 1 << 31, **options)
