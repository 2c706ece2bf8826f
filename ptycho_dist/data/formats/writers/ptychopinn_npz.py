"""Writer of PtychoPINN's NPZ scans; see :mod:`ptycho_dist.data.formats.ptychopinn_npz`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.ptycho_dist_h5_writer import Rows, ScanContent
from ptycho_dist.data.formats.ptychopinn_npz import NAME
from ptycho_dist.data.formats.writers.npz_output import NpzOutput, writing_npz
from ptycho_dist.data.formats.writers.registry import register_writer


@register_writer(
    NAME, suffixes=(".npz",), holds=("probe", "mask", "probe_mask", "object_", "nphotons"), needs=("probe",)
)
def write(path: Path, content: ScanContent) -> tuple[Path, ...]:
    """Write amplitudes (square roots of counts), patch centres in pixels of the object, and the guesses."""
    rows = Rows(path, 0, len(content.positions_px), content.mask)
    with writing_npz(path) as archive:
        archive.write_rows("diffraction", _amplitudes(content), rows, np.float32)
        probe = np.asarray(content.probe, np.complex64)
        archive.write("probeGuess", probe if len(probe) > 1 else probe[0])
        _write_positions(archive, content, probe.shape[-1])
        if content.object_ is not None:
            archive.write("objectGuess", np.asarray(content.object_, np.complex64))
        if content.mask is not None:
            archive.write("bad_pixels", ~content.mask)
        if content.probe_mask is not None:
            archive.write("probe_mask", content.probe_mask)
        if content.nphotons is not None:
            archive.write("_metadata", np.array(json.dumps({"physics_parameters": {"nphotons": content.nphotons}})))
    return (path,)


def _amplitudes(content: ScanContent) -> Iterator[NDArray[Any]]:
    return (np.sqrt(chunk, dtype=np.float32) for chunk in content.patterns)


def _write_positions(archive: NpzOutput, content: ScanContent, N: int) -> None:
    origin = np.asarray(content.object_origin_px or (0.0, 0.0)) if content.object_ is not None else np.zeros(2)
    centres = content.positions_px - origin + N / 2
    for name, axis in (("xcoords", 1), ("ycoords", 0)):
        archive.write(name, centres[:, axis])
        archive.write(f"{name}_start", centres[:, axis])
