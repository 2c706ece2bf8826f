"""The product of a refinement."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.product_h5 import BACKGROUND, FIRST_POSITIONS, FLUX, ProductGeometry, ProductWriter
from ptycho_dist.data.formats.product_tiles import OBJECT, UnfinishedProduct
from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.collectives import from_rank_0, on_all_ranks, place
from ptycho_dist.factory.payload import RefinePayload
from ptycho_dist.physics.propagators import propagation_of
from ptycho_dist.refine.outcome import Outcome
from ptycho_dist.types import Canvas, ProductMetadata

logger = logging.getLogger(__name__)
_MOVED_PX = 1e-6


def write_product(
    path: Path,
    payload: RefinePayload,
    scan: Scan,
    outcome: Outcome,
    start: str,
    by_start: Mapping[str, Sequence[float]],
    extras: Mapping[str, NDArray[np.float32]],
) -> None:
    """Write object, probe, positions and what else was refined or told; its losses are the Fourier errors.

    Called on all ranks, which write the object together; the file appears when all of it is there.

    Parameters
    ----------
    path, payload, scan
        File to write, settings, and the open scan.
    outcome
        What is written.
    start
        What was refined to the end.
    by_start
        Fourier error of each iteration, of all starts.
    extras
        Further arrays, by name; those of rank 0 are written.

    Raises
    ------
    OtherRankError
        Where another rank has failed; what was written is removed.
    """

    def begin() -> UnfinishedProduct:
        metadata = _metadata(payload, scan, start, by_start)
        with ProductWriter(path, metadata, outcome.canvas.shape, _geometry(scan, outcome.canvas)) as writer:
            writer.write_losses(by_start[start])
            _write_but_object(writer, outcome, extras)
            _write_first_positions(writer, outcome, scan)
            return writer.leave_tiles_open({})

    def write() -> None:
        with product.tiles() as writer:
            for corner, piece in outcome.pieces():
                writer.write(OBJECT, corner, piece)

    def end() -> None:
        product.publish()
        logger.info("refined object of %d x %d pixels written to %s", *outcome.canvas.shape, path)

    product = from_rank_0(begin)
    try:
        on_all_ranks(write)
        from_rank_0(end)
    finally:
        if place()[0] == 0:
            product.discard()


def _write_but_object(writer: ProductWriter, outcome: Outcome, extras: Mapping[str, NDArray[np.float32]]) -> None:
    writer.write_probe(outcome.probe_PNN.cpu().numpy())
    writer.write_positions(outcome.positions_px.numpy() + np.asarray(outcome.canvas.origin_px))
    writer.write_extra(FLUX, outcome.flux_B.numpy())
    for name, array in extras.items():
        writer.write_extra(name, array)
    if outcome.background_NN is not None:
        writer.write_extra(BACKGROUND, outcome.background_NN.cpu().numpy())


def _write_first_positions(writer: ProductWriter, outcome: Outcome, scan: Scan) -> None:
    """Write positions as they were measured, where others have been found."""
    found_px = outcome.positions_px.numpy() + np.asarray(outcome.canvas.origin_px)
    if np.abs(found_px - scan.positions_px).max() > _MOVED_PX:
        writer.write_extra(FIRST_POSITIONS, scan.positions_px)


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
