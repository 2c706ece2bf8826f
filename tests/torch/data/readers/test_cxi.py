"""CXI as several programs write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptycho_dist.data.scan import ScanOptions, open_scan
from ptycho_dist.errors import DataFormatError
from tests.support.foreign import (
    COUNTS,
    DETECTOR_PIXEL_M,
    DISTANCE_M,
    DX_M,
    ENERGY_EV,
    JOULE,
    MADE,
    POSITIONS_PX,
    RAW,
    WAVELENGTH_M,
    N,
    require_scan,
    valid,
    write_hdf5,
)

DETECTOR, SOURCE = "entry_1/instrument_1/detector_1", "entry_1/instrument_1/source_1"
SAMPLE = "entry_1/sample_1/geometry_1/translation"
METRES = np.stack([POSITIONS_PX[:, 1], POSITIONS_PX[:, 0], np.zeros(14)], axis=1) * DX_M
BASIS = np.array([[0.0, -DETECTOR_PIXEL_M], [-DETECTOR_PIXEL_M, 0.0], [0.0, 0.0]])


def cxi(path: Path, attributes: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Write CXI as cdtools does; a keyword changes a dataset, its slashes written as two underscores."""
    content: dict[str, Any] = {
        "cxi_version": 160,
        f"{DETECTOR}/data": RAW,
        f"{DETECTOR}/distance": np.float32(DISTANCE_M),
        f"{DETECTOR}/x_pixel_size": DETECTOR_PIXEL_M,
        f"{DETECTOR}/y_pixel_size": DETECTOR_PIXEL_M,
        f"{DETECTOR}/basis_vectors": BASIS,
        f"{DETECTOR}/mask": np.where(valid(), 0, 1).astype(np.uint32),
        f"{SOURCE}/energy": ENERGY_EV * JOULE,
        SAMPLE: METRES,
        "entry_1/data_1/data": h5py.SoftLink(f"/{DETECTOR}/data"),
        "entry_1/data_1/translation": h5py.SoftLink(f"/{SAMPLE}"),
    }
    return write_hdf5(path, content | changes, attributes)


def masked(signal: int) -> np.ndarray:
    mask = np.where(valid(), 0, 4).astype(np.uint32)
    mask[7, 7] = signal
    return mask


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {SAMPLE: METRES.T.astype(np.float32), f"{DETECTOR}/basis_vectors": BASIS.T},
        {f"{DETECTOR}/mask": masked(0x1000)},
        {f"{DETECTOR}/mask": np.where(valid(), 0, -1).astype(np.int8)},
        {SAMPLE: METRES[:, :2]},
        {f"{DETECTOR}/basis_vectors": None},
        {f"{DETECTOR}/basis_vectors": -BASIS, SAMPLE: -METRES},
        {f"{DETECTOR}/basis_vectors": np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), SAMPLE: -METRES[:, [1, 0, 2]]},
        {f"{SOURCE}/energy": None, f"{SOURCE}/wavelength": WAVELENGTH_M},
        {f"{DETECTOR}/x_pixel_size": None, f"{DETECTOR}/y_pixel_size": None},
        {"entry_1/data_1/data": None, "entry_1/data_1/translation": None},
        {f"{DETECTOR}/corner_position": np.array([8 * DETECTOR_PIXEL_M, 8 * DETECTOR_PIXEL_M, DISTANCE_M])},
        {f"{DETECTOR}/mask": None},
    ],
    ids=[
        "cdtools",
        "pynx shapes",
        "signal is good",
        "mask with sign",
        "two columns",
        "no basis",
        "turned basis",
        "rows along x",
        "wavelength",
        "pixel of the basis",
        "detector only",
        "corner",
        "no mask, full pixels",
    ],
)
def test_variants_say_the_same(tmp_path: Path, changes: dict[str, Any]) -> None:
    require_scan(cxi(tmp_path / "s.cxi", **changes), "cxi")


def test_energy_of_pynx_is_corrected(tmp_path: Path) -> None:
    energy = ENERGY_EV * JOULE * 1.2384 / 1.23984198
    path = cxi(tmp_path / "s.cxi", {"@creator": "PyNX"}, **{f"{SOURCE}/energy": energy, SAMPLE: METRES.T})
    require_scan(path, "cxi")
    assert any("PyNX" in one for one in open_scan(path).header.conversions)


def test_speckle_tracking_has_another_sample_a_basis_for_each_frame_and_a_mask_of_good_pixels(tmp_path: Path) -> None:
    changes = {
        SAMPLE: None,
        "entry_1/data_1/translation": None,
        "entry_1/sample_3/geometry/translation": METRES,
        f"{DETECTOR}/basis_vectors": np.broadcast_to(BASIS.T, (14, 2, 3)),
        f"{DETECTOR}/mask": valid(),
    }
    require_scan(cxi(tmp_path / "s.cxi", **changes), "cxi")


def test_beam_off_the_middle_is_found_by_the_corner(tmp_path: Path) -> None:
    corner = np.array([(N / 2 + 1) * DETECTOR_PIXEL_M, N / 2 * DETECTOR_PIXEL_M, DISTANCE_M])
    with open_scan(cxi(tmp_path / "s.cxi", **{f"{DETECTOR}/corner_position": corner})) as scan:
        np.testing.assert_array_equal(scan.counts()[:, :, :-1], COUNTS[:, :, 1:])


def test_probe_of_the_file_is_taken(tmp_path: Path) -> None:
    with open_scan(cxi(tmp_path / "s.cxi", **{f"{SOURCE}/illumination": MADE.probe})) as scan:
        np.testing.assert_array_equal(scan.probe, MADE.probe)
    with open_scan(cxi(tmp_path / "t.cxi", **{f"{SOURCE}/illumination": np.ones((N, N))})) as scan:
        assert scan.probe is None
        assert any("illumination left out" in one for one in scan.header.conversions)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({SAMPLE: METRES[:5]}, r"\(5, 3\).* for 14 patterns; expected \(14, 3\) or \(3, 14\)"),
        ({SAMPLE: None, "entry_1/data_1/translation": None}, "patterns without positions, which Ptychodus keeps"),
        ({f"{SOURCE}/energy": ENERGY_EV}, "expected 10 to 300000 eV"),
        ({f"{SOURCE}/energy": None}, "lacks energy_eV"),
        ({f"{DETECTOR}/basis_vectors": np.zeros((3, 2))}, "a step of length 0"),
        ({f"{DETECTOR}/basis_vectors": np.ones((4, 4))}, r"shape \(4, 4\); expected \(2, 3\), \(3, 2\)"),
        ({f"{DETECTOR}/mask": np.ones((4, 4))}, r"mask in .* has shape \(4, 4\)"),
        ({f"{DETECTOR}/distance": 0.0}, "detector_distance_m"),
        ({f"{DETECTOR}/data": h5py.ExternalLink("/etc/hostname", "/data")}, "not in the folder of the file"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataFormatError, match=words):
        open_scan(cxi(tmp_path / "s.cxi", **changes))


def test_flags_supply_what_is_missing(tmp_path: Path) -> None:
    path = cxi(tmp_path / "s.cxi", **{f"{SOURCE}/energy": None, f"{DETECTOR}/distance": None})
    require_scan(path, "cxi", ScanOptions(energy_eV=ENERGY_EV, detector_distance_m=DISTANCE_M))
