"""The product of a refinement."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.product_h5 import BACKGROUND, FLUX, ProductGeometry, ProductWriter
from ptycho_dist.data.scan import Scan
from ptycho_dist.factory.payload import RefinePayload
from ptycho_dist.physics.propagators import propagation_of
from ptycho_dist.refine.candidates import Candidate
from ptycho_dist.types import Canvas, ProductMetadata

logger = logging.getLogger(__name__)


def write_product(
    path: Path,
    payload: RefinePayload,
    scan: Scan,
    best: Candidate,
    by_start: Mapping[str, Sequence[float]],
    extras: Mapping[str, NDArray[np.float32]],
) -> None:
    """Write object, probe, positions and what else was refined or told; its losses are the Fourier errors.

    Parameters
    ----------
    path, payload, scan
        File to write, settings, and the open scan.
    best
        What is written.
    by_start
        Fourier error of each iteration, of all starts.
    extras
        Further arrays, by name.
    """
    estimate, canvas = best.refiner.estimate, best.canvas
    object_ = estimate.object_HW.cpu().numpy()
    metadata = _metadata(payload, scan, best.name, by_start)
    with ProductWriter(path, metadata, canvas.shape, _geometry(scan, canvas)) as writer:
        writer.write_probe(estimate.probe_PNN.cpu().numpy())
        writer.write_positions(estimate.positions_px.numpy() + np.asarray(canvas.origin_px))
        writer.write_losses(by_start[best.name])
        writer.write_extra(FLUX, estimate.flux_B.numpy())
        for name, array in extras.items():
            writer.write_extra(name, array)
        if estimate.background_NN is not None:
            writer.write_extra(BACKGROUND, estimate.background_NN.cpu().numpy())
        writer.write_object_tile((0, 0), object_.astype(np.complex64))
    logger.info("refined object of %d x %d pixels written to %s", *canvas.shape, path)


def _metadata(
    payload: RefinePayload, scan: Scan, start: str, by_start: Mapping[str, Sequence[float]]
) -> ProductMetadata:
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
            "refined_from": start,
            "fourier_errors_by_start": {name: list(errors) for name, errors in by_start.items()},
        },
    )


def _geometry(scan: Scan, canvas: Canvas) -> ProductGeometry:
    return ProductGeometry(N=scan.header.N, pixel_size_m=scan.header.pixel_size_m, object_origin_px=canvas.origin_px)
