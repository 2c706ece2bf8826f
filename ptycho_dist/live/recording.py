"""Write what has arrived as a scan file of the project's own layout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.base import RawScan
from ptycho_dist.data.formats.intensity import read_numbers
from ptycho_dist.data.formats.ptycho_dist_h5_writer import COPY_ROWS, ScanContent, write_scan_h5

NAME = "scan.h5"


def record(path: Path, parts: list[RawScan]) -> Path:
    """Write scans that follow each other as one; all but patterns and positions is that of the first.

    Raises
    ------
    DataFormatError
        If their counts cannot be written.
    """
    first = parts[0]
    return write_scan_h5(
        path,
        ScanContent(
            patterns=(counts for one in parts for counts in _patterns(path, one)),
            positions_px=np.concatenate([one.positions_px for one in parts]),
            probe=first.probe,
            mask=first.mask,
            probe_mask=first.probe_mask,
            nphotons=first.nphotons,
            pixel_size_m=first.pixel_size_m,
            energy_eV=first.energy_eV,
            detector_distance_m=first.detector_distance_m,
            is_electron=first.is_electron,
            metadata={"conversions": list(first.conversions)},
        ),
    )


def _patterns(path: Path, raw: RawScan) -> Iterator[NDArray[Any]]:
    for start in range(0, raw.patterns.shape[0], COPY_ROWS):
        yield read_numbers(path, raw, np.arange(start, min(start + COPY_ROWS, raw.patterns.shape[0])))
