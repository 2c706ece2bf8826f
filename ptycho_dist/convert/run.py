"""Convert a scan, chunk by chunk, on any number of ranks; and a reconstruction."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.config.command_settings import SPATIAL
from ptycho_dist.data.formats.ptycho_dist_h5_ranks import write_scan_h5_on_ranks
from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent
from ptycho_dist.data.formats.results.reading import read_result
from ptycho_dist.data.formats.results.registry import result_writer, write_result_as
from ptycho_dist.data.formats.writers.ptycho_dist import NAME as OWN
from ptycho_dist.data.formats.writers.registry import Written, scan_writer, write_scan_as
from ptycho_dist.data.scan import Scan
from ptycho_dist.data.spatial import in_spatial_order, own_rows
from ptycho_dist.distributed.rank_group import RankGroup, TorchRankGroup
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FAR_FIELD, Propagation, Shard

_logger = logging.getLogger(__name__)
_CHUNK = 64
_STAGE = "conversion"


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
    _require_other_file(output_file, scan)
    own = own_rows(header.n_patterns, ranks.rank, ranks.world)
    content = _content(scan, own)
    if order == SPATIAL:
        content = in_spatial_order(content, scan.read_patterns, own)
    content = replace(content, patterns=ranks.progress.counted(content.patterns))
    with ranks.progress.stage(_STAGE, own.stop - own.start, "patterns", is_shared=False):
        path = write_scan_h5_on_ranks(output_file, content, own, ranks)
    _logger.info("converted %d patterns of %s into %s", header.n_patterns, header.path, path)
    return path


def convert_to(
    name: str,
    scan: Scan,
    output_file: Path,
    ranks: RankGroup | None = None,
    order: str = SPATIAL,
    propagation: Propagation = FAR_FIELD,
) -> Written:
    """Write a scan in a format of some name; that of the project on all ranks, others on rank 0.

    Parameters
    ----------
    name
        Name of the format, such as ``cxi``.
    scan, output_file, ranks, order
        As in :func:`convert`.
    propagation
        How its waves travel, which the pixel of the detector depends on.

    Returns
    -------
    Written
        The files written, and what of the scan the format cannot hold.

    Raises
    ------
    ConfigError
        If there is no such format.
    DataFormatError
        If the scan lacks what the format needs, would be written over itself, or holds invalid counts.
    """
    if name == OWN:
        return Written((convert(scan, output_file, ranks, order),))
    ranks = ranks or TorchRankGroup()
    for path in scan_writer(name).files(output_file):
        _require_other_file(path, scan)

    def write() -> Written | None:
        whole = Shard(0, 1, 0, scan.header.n_patterns)
        content = _content(scan, whole, propagation)
        content = replace(content, patterns=ranks.progress.counted(content.patterns))
        return write_scan_as(name, output_file, content) if ranks.rank == 0 else None

    with ranks.progress.stage(_STAGE, scan.header.n_patterns, "patterns"):
        written = ranks.all_gather(ranks.on_all_ranks(write))[0]
    if written is None:
        msg = f"rank 0 wrote nothing to {output_file}"
        raise AssertionError(msg)
    _say(scan.header.path, written)
    return written


def convert_result(name: str, source: Path, output_file: Path) -> Written:
    """Write a reconstruction in a format of some name.

    Parameters
    ----------
    name
        Name of the format, such as ``ptyr``.
    source
        Reconstruction of this program or another (:func:`~ptycho_dist.data.formats.results.reading.read_result`).
    output_file
        File to write.

    Raises
    ------
    ConfigError
        If there is no such format.
    DataFormatError
        If the file holds no reconstruction, would be written over itself, or lacks what the format needs.
    """
    if any(path.resolve() == source.resolve() for path in result_writer(name).files(output_file)):
        raise _same_file(output_file, "reconstruction")
    written = write_result_as(name, output_file, read_result(source))
    _say(source, written)
    return written


def _say(source: Path, written: Written) -> None:
    _logger.info("converted %s into %s", source, ", ".join(str(path) for path in written.paths))
    for lost in written.lost:
        _logger.warning("%s cannot hold %s; left out", written.paths[0].name, lost)


def _require_other_file(path: Path, scan: Scan) -> None:
    if path.resolve() in {one.resolve() for one in (scan.header.path, *scan.companions)}:
        raise _same_file(path, "scan")


def _same_file(path: Path, what: str) -> DataFormatError:
    return DataFormatError(f"{path} is the {what} itself; expected another file to write. Choose another name.")


def _content(scan: Scan, rows: Shard, propagation: Propagation = FAR_FIELD) -> ScanContent:
    """All of a scan, with some of its patterns."""
    header, origin = scan.header, scan.object_origin_px
    return ScanContent(
        patterns=_patterns(scan, rows),
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
        is_electron=scan.raw.is_electron,
        propagation=propagation,
        metadata={
            "converted": {"from": header.path.name, "format": header.format_name, "sha256": header.checksum},
            "conversions": list(header.conversions),
        },
    )


def _patterns(scan: Scan, rows: Shard) -> Iterator[NDArray[np.float32]]:
    for start in range(rows.start, rows.stop, _CHUNK):
        yield scan.read_patterns(np.arange(start, min(start + _CHUNK, rows.stop)))
