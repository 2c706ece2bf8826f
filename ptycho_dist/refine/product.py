"""A refined estimate as a product file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ptycho_dist.data.formats.product_h5 import BACKGROUND, FLUX, ProductGeometry, ProductWriter
from ptycho_dist.data.scan import Scan
from ptycho_dist.factory.payload import RefinePayload
from ptycho_dist.physics.propagators import propagation_of
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.types import Canvas, ProductMetadata

logger = logging.getLogger(__name__)


def write_product(
    path: Path, payload: RefinePayload, scan: Scan, found: tuple[Estimate, Canvas], errors: Sequence[float]
) -> None:
    """Write object, probe, positions and what else was refined; its losses are the Fourier errors."""
    estimate, canvas = found
    object_ = estimate.object_HW.cpu().numpy()
    with ProductWriter(path, _metadata(payload, scan), canvas.shape, _geometry(scan, canvas)) as writer:
        writer.write_probe(estimate.probe_PNN.cpu().numpy())
        writer.write_positions(estimate.positions_px.numpy() + np.asarray(canvas.origin_px))
        writer.write_losses(errors)
        writer.write_extra(FLUX, estimate.flux_B.numpy())
        if estimate.background_NN is not None:
            writer.write_extra(BACKGROUND, estimate.background_NN.cpu().numpy())
        writer.reserve()
        writer.write_object_tile((0, 0), object_.astype(np.complex64))
    logger.info("refined object of %d x %d pixels written to %s", *canvas.shape, path)


def _metadata(payload: RefinePayload, scan: Scan) -> ProductMetadata:
    header = scan.header
    return ProductMetadata(
        name=header.path.stem,
        comments="Refined by ptycho_dist.",
        detector_object_distance_m=header.detector_distance_m,
        probe_energy_eV=header.energy_eV,
        propagation=propagation_of(payload.data_config, header),
        provenance={
            "payload": payload.to_dict(),
            "result_fingerprint": payload.result_fingerprint(),
            "conversions": list(header.conversions),
        },
    )


def _geometry(scan: Scan, canvas: Canvas) -> ProductGeometry:
    return ProductGeometry(N=scan.header.N, pixel_size_m=scan.header.pixel_size_m, object_origin_px=canvas.origin_px)
