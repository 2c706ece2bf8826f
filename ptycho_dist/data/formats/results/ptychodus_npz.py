"""Reader of Ptychodus products in NPZ."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from ptycho_dist.data.formats import checks, npz
from ptycho_dist.data.formats.product import Product, ProductGeometry
from ptycho_dist.data.formats.results.parts import single, square_pixel
from ptycho_dist.types import ProductMetadata

_KEYS = ("probe_position_x_m", "probe_position_y_m", "probe", "object", "object_pixel_width_m", "object_center_x_m")


def detect(names: Collection[str]) -> bool:
    """Tell whether an NPZ file with these members is a Ptychodus product."""
    return set(_KEYS) <= set(names)


def read(path: Path) -> Product:
    """Read probe, object and the centres of patches in metres.

    Raises
    ------
    DataFormatError
        If it is damaged, or has several layers or probes.
    """
    names = npz.member_names(path)

    def number(*keys: str) -> float:
        known = [key for key in keys if key in names]
        return float(npz.load_member(path, known[0]).reshape(-1)[0]) if known else float("nan")

    object_ = single(path, "object", npz.load_member(path, "object"), 2)
    probe = checks.checked_probe(path, "probe", single(path, "probe", npz.load_member(path, "probe"), 3))
    pixel = square_pixel(path, [number("object_pixel_height_m"), number("object_pixel_width_m")])
    y, x = (npz.load_member(path, f"probe_position_{axis}_m") for axis in "yx")
    N, count = probe.shape[-1], len(y)
    middle = np.array([number("object_center_y_m"), number("object_center_x_m")]) / pixel
    origin = middle - (np.array(object_.shape) - 1) / 2
    losses = [npz.load_member(path, key).ravel() for key in ("loss_values", "costs") if key in names]
    values = np.asarray(losses[0] if losses else (), np.float64)
    has_index = "probe_position_indexes" in names
    indexes = npz.load_member(path, "probe_position_indexes") if has_index else np.arange(count)
    return Product(
        object_=object_,
        probe=probe,
        positions_px=checks.checked_positions(path, np.stack([y, x], axis=1), count) / pixel - (N - 1) / 2,
        indexes=indexes.astype(np.int64),
        geometry=ProductGeometry(N=N, pixel_size_m=pixel, object_origin_px=(float(origin[0]), float(origin[1]))),
        metadata=ProductMetadata(
            name=path.stem,
            detector_object_distance_m=number("detector_object_distance_m"),
            probe_energy_eV=number("photon_energy_eV", "probe_energy_eV"),
        ),
        losses=values,
        loss_epochs=np.arange(len(values)),
    )
