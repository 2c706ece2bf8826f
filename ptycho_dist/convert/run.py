"""Convert a scan, chunk by chunk, on any number of ranks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.config.command_settings import SPATIAL
from ptycho_dist.data.formats.ptycho_dist_h5_ranks import write_scan_h5_on_ranks
from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent
from ptycho_dist.data.scan import Scan
from ptycho_dist.data.spatial import in_spatial_order, own_rows
from ptycho_dist.distributed.rank_group import RankGroup, TorchRankGroup
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import Shard

_logger = logging.getLogger(__name__)
_CHUNK = 64


def convert(scan: Scan, output_file: Path, ranks: RankGroup | None = None, order: str = SPATIAL) -> Path:
    """Write a scan in the project's HDF5 layout; each rank reads and writes its own rows.

    Patterns keep their numbers, in whatever order they are stored.

    Parameters
    ----------
    scan
        An open scan of any readable format.
    output_file
        HDF5 file to write.
    ranks
        Exchange with other ranks that convert a part each; alone where None.
    order
        Order in which the patterns are stored: ``spatial`` or ``as_measured``.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    DataFormatError
        If the scan would be written over itself, or holds invalid counts.
    """
    ranks, header = ranks or TorchRankGroup(), scan.header
    if output_file.resolve() == header.path.resolve():
        msg = f"{output_file} is the scan itself; expected another file to write. Choose another name."
        raise DataFormatError(msg)
    own = own_rows(header.n_patterns, ranks.rank, ranks.world)
    origin = scan.object_origin_px
    content = ScanContent(
        patterns=_patterns(scan, own),
        positions_px=scan.positions_px,
        probe=scan.probe,
        mask=scan.mask,
        probe_mask=scan.probe_mask,
        object_=scan.object_,
        object_origin_px=None if origin is None else (float(origin[0]), float(origin[1])),
        nphotons=header.nphotons,
        pixel_size_m=header.pixel_size_m,
        energy_eV=header.energy_eV,
        detector_distance_m=header.detector_distance_m,
        metadata={
            "converted": {"from": header.path.name, "format": header.format_name, "sha256": header.checksum},
            "conversions": list(header.conversions),
        },
    )
    if order == SPATIAL:
        content = in_spatial_order(content, scan.read_patterns, own)
    path = write_scan_h5_on_ranks(output_file, content, own, ranks)
    _logger.info("converted %d patterns of %s into %s", header.n_patterns, header.path, path)
    return path


def _patterns(scan: Scan, rows: Shard) -> Iterator[NDArray[np.float32]]:
    for start in range(rows.start, rows.stop, _CHUNK):
        yield scan.read_patterns(np.arange(start, min(start + _CHUNK, rows.stop)))
