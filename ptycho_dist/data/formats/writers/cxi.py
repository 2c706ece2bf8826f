"""Writer of CXI files, as cdtools and Ptychodus read them (M. F. Maia, Nature Methods 9, 854 (2012))."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from ptycho_dist.atomic import atomic_path
from ptycho_dist.data.formats.base import BoolArray
from ptycho_dist.data.formats.ptycho_dist_h5_writer import PORTABLE, Rows, ScanContent, Storage, write_rows
from ptycho_dist.data.formats.writers.lengths import ELEMENTARY_CHARGE_C, Lengths, lengths_of
from ptycho_dist.data.formats.writers.registry import GEOMETRY, register_writer
from ptycho_dist.hdf5_files import writing

NAME = "cxi"
VERSION = 160
DETECTOR = "entry_1/instrument_1/detector_1"
_INVALID = 1
"""Bit of a pixel that does not count."""


@register_writer(
    NAME, suffixes=(".cxi", ".h5", ".hdf5"), holds=("probe", "mask", "is_electron", *GEOMETRY), needs=GEOMETRY
)
def write(path: Path, content: ScanContent) -> tuple[Path, ...]:
    """Write counts, translations of the sample in metres, geometry, mask and the probe (``source_1/illumination``).

    Rows of the detector run along -y and columns along -x (``basis_vectors``), so the corner of a patch is
    (row, column) = (+y, +x) of the translation over the object pixel.
    """
    with atomic_path(path) as temporary, writing(temporary) as file:
        rows = Rows(path, 0, len(content.positions_px), content.mask, Storage(f"{DETECTOR}/data", PORTABLE))
        write_rows(file, content.patterns, rows)
        patterns = file[f"{DETECTOR}/data"]
        patterns.attrs["axes"] = "translation:y:x"
        lengths = lengths_of(content, patterns.shape[-1], knows_electrons=True)
        write_entry(file, content.energy_eV, content.detector_distance_m, title=path.stem)
        _write_detector(file, lengths, content.mask)
        file["entry_1/instrument_1/source_1/wavelength"] = lengths.wavelength_m
        write_translation(file, lengths)
        file["entry_1/data_1/data"] = h5py.SoftLink(f"/{DETECTOR}/data")
        if content.probe is not None:
            file["entry_1/instrument_1/source_1/illumination"] = np.asarray(content.probe, np.complex64)
    return (path,)


def write_entry(file: h5py.File, energy_eV: float, distance_m: float, title: str) -> None:
    """Write version, title, energy (J) and distance (m)."""
    file["cxi_version"] = VERSION
    file["number_of_entries"] = 1
    file["entry_1/title"] = np.bytes_(title.encode())
    file["entry_1/instrument_1/source_1/energy"] = energy_eV * ELEMENTARY_CHARGE_C
    file[f"{DETECTOR}/distance"] = distance_m


def write_translation(file: h5py.File, lengths: Lengths) -> None:
    """Write the translations of the sample (x, y, z) in metres where programs look for them."""
    corners = lengths.corners_m
    file["entry_1/sample_1/geometry_1/translation"] = np.stack(
        [corners[:, 1], corners[:, 0], np.zeros(len(corners))], axis=1
    )
    for group in ("entry_1/data_1", DETECTOR):
        file[f"{group}/translation"] = h5py.SoftLink("/entry_1/sample_1/geometry_1/translation")


def _write_detector(file: h5py.File, lengths: Lengths, mask: BoolArray | None) -> None:
    pixel = lengths.detector_pixel_m
    file[f"{DETECTOR}/x_pixel_size"] = file[f"{DETECTOR}/y_pixel_size"] = pixel
    file[f"{DETECTOR}/basis_vectors"] = np.array([[0, -pixel], [-pixel, 0], [0, 0]])
    if mask is not None:
        file[f"{DETECTOR}/mask"] = np.where(mask, 0, _INVALID).astype(np.uint32)
