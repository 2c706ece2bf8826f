"""Writer of the project's own layout; several ranks write it by :mod:`~..ptycho_dist_h5_ranks`."""

from __future__ import annotations

from pathlib import Path

from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent, write_scan_h5
from ptycho_dist.data.formats.writers.registry import PARTS, register_writer

NAME = "ptycho_dist"


@register_writer(NAME, suffixes=(".h5", ".hdf5"), holds=tuple(PARTS))
def write(path: Path, content: ScanContent) -> tuple[Path, ...]:
    """Write a scan with all that is known of it."""
    return (write_scan_h5(path, content),)
