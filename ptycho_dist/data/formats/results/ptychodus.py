"""Reconstructions as Ptychodus products, the layout of our own."""

from __future__ import annotations

from pathlib import Path

from ptycho_dist.data.formats.product import Product
from ptycho_dist.data.formats.product_h5 import ProductWriter
from ptycho_dist.data.formats.results.registry import EXTRAS, LOSSES, PROVENANCE, register_result_writer


@register_result_writer("ptychodus", suffixes=(".h5", ".hdf5"), holds=(LOSSES, EXTRAS, PROVENANCE))
def write(path: Path, product: Product) -> tuple[Path, ...]:
    """Write a product of one object layer and one probe."""
    shape = (product.object_.shape[0], product.object_.shape[1])
    with ProductWriter(path, product.metadata, shape, product.geometry) as writer:
        writer.write_object_tile((0, 0), product.object_)
        writer.write_probe(product.probe)
        writer.write_positions(product.positions_px, product.indexes)
        writer.write_losses(product.losses, product.loss_epochs)
        for name, array in product.extras.items():
            writer.write_extra(name, array)
    return (path,)
