"""Writer of tike's NPZ scans; see :mod:`ptycho_dist.data.formats.tike_npz`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.ptycho_dist_h5_writer import Rows, ScanContent
from ptycho_dist.data.formats.tike_npz import NAME
from ptycho_dist.data.formats.writers.npz_output import writing_npz
from ptycho_dist.data.formats.writers.registry import register_writer


@register_writer(NAME, suffixes=(".npz",), holds=("probe", "probe_mask", "object_"), needs=("probe",))
def write(path: Path, content: ScanContent) -> tuple[Path, ...]:
    """Write counts with the zero frequency at the corner, patch corners in pixels, and the probe.

    With an object (``psi``) positions are moved so that they index it.
    """
    rows = Rows(path, 0, len(content.positions_px), content.mask)
    origin = np.asarray(content.object_origin_px or (0.0, 0.0)) if content.object_ is not None else np.zeros(2)
    with writing_npz(path) as archive:
        archive.write_rows("data", _from_corner(content), rows, np.float32)
        archive.write("scan", (content.positions_px - origin).astype(np.float32)[None])
        archive.write("probe", np.asarray(content.probe, np.complex64)[None, None, None])
        if content.probe_mask is not None:
            archive.write("probe_mask", content.probe_mask)
        if content.object_ is not None:
            archive.write("psi", np.asarray(content.object_, np.complex64))
    return (path,)


def _from_corner(content: ScanContent) -> Iterator[NDArray[Any]]:
    return (np.fft.ifftshift(chunk, axes=(-2, -1)) for chunk in content.patterns)
