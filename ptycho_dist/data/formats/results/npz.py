"""Reconstructions as plain arrays (NPZ)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ptycho_dist.data.formats.product import Product
from ptycho_dist.data.formats.results.registry import EXTRAS, LOSSES, register_result_writer
from ptycho_dist.data.formats.writers.npz_output import writing_npz


@register_result_writer("npz", suffixes=(".npz",), holds=(LOSSES, EXTRAS))
def write(path: Path, product: Product) -> tuple[Path, ...]:
    """Write ``object`` (H, W), ``probe`` (P, N, N), ``positions_px`` (B, 2; patch corners that index the object).

    Also ``indexes``, ``pixel_size_m``, ``energy_eV``, ``losses``, ``loss_epochs``, and our maps by their names.
    """
    geometry = product.geometry
    arrays = {
        "object": product.object_,
        "probe": product.probe,
        "positions_px": product.positions_px - geometry.object_origin_px,
        "indexes": product.indexes,
        "pixel_size_m": np.array(geometry.pixel_size_m),
        "energy_eV": np.array(product.metadata.probe_energy_eV),
        "losses": product.losses,
        "loss_epochs": product.loss_epochs,
    }
    with writing_npz(path) as archive:
        for name, array in {**product.extras, **arrays}.items():
            archive.write(name, np.asarray(array))
    return (path,)
