"""Files of other programs that readers in code open: positions and frame sums that are known, or a message.

Files of this kind that maps open are in test_shared_formats.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho_dist.data.formats.results.reading import read_result
from ptycho_dist.data.scan import ScanOptions, open_scan
from ptycho_dist.errors import DataFormatError


@dataclass(frozen=True)
class Known:
    """A scan of the star, which is known.

    Parameters
    ----------
    name
        File in the folder of formats.
    reader
        Name of the reader that is to be found.
    geometry
        Whether it tells energy, distance and object pixel.
    bad_pixels
        Pixels that it leaves out.
    """

    name: str
    reader: str
    geometry: bool = True
    bad_pixels: int = 3


STAR = (
    Known("written/cdtools.cxi", "cxi"),
    Known("written/ptychodus_diffraction.h5", "ptychodus_h5"),
    Known("written/ptychodus_diffraction.cxi", "cxi"),
    Known("written/ptychodus_training.h5", "ptychodus_training"),
    Known("written/ptychodus_ptychopinn.npz", "ptychopinn_npz", geometry=False),
    Known("written/ptypy_append.ptyd", "ptyd"),
)
_ELECTRONS = {"scan_step_m": 1e-10, "angle_per_pixel_rad": 2e-4, "energy_eV": 2e5}


@dataclass(frozen=True)
class Opens:
    """A scan of which less is known: number and side of its frames, object pixel."""

    name: str
    reader: str
    frames: tuple[int, int]
    dx_m: float
    options: dict[str, Any] = field(default_factory=dict)


OTHERS = (
    Opens("real/PETRAIII_P25_Near_Field_Ptycho_first80.cxi", "cxi", (80, 100), 1.9946e-8),
    Opens("real/Si100_4D_prismatic.emd", "prismatic", (121, 8), 6.7875e-11),
    Opens("real/py4DSTEM_size2x3x4x5.h5", "py4dstem", (6, 4), 5.6496e-10, {"intensity_kind": "counts"}),
    Opens("real/fpd_file_test.hdf5", "fpd", (4, 256), 4.8983e-11, _ELECTRONS),
    Opens("byhand/empad/map4x4.xml", "empad", (16, 128), 3.5847e-11, {"scan_step_m": 1e-10}),
    Opens("byhand/empad/scan_x4_y4.raw", "empad", (16, 128), 3.5847e-11, {"scan_step_m": 1e-10}),
    Opens("real/merlin_mib/001_4x2_6bit.mib", "microscope", (8, 256), 4.8983e-11, _ELECTRONS),
)
MESSAGES = {
    "real/scan_scan1.ptyr": r"is a result of ptypy \(.ptyr\): a result without patterns.*refine SCAN --start FILE",
    "real/ptychodus_product_early_W250.h5": r"is a Ptychodus product: a result without patterns",
    "written/ptychodus_product.h5": r"is a Ptychodus product: a result without patterns",
    "written/ptychodus_product.cxi": r"is a reconstruction in CXI, without patterns: .*Give the file of the patterns",
    "real/Run1084_recon3_postPC.npz": r"is a reconstruction \(object and probe\): a result without patterns",
    "real/dectris_arina/test_00_master.h5": r"16 sampled patterns in .* are zero everywhere",
    "real/dectris_arina/test_00_data_000001.h5": r"the data file of a DECTRIS master; .*Give X_master.h5",
    "real/dectris_arina/test_00.h5": r"what the microscope noted of an Arina scan; .*Give test_00_master.h5",
    "real/example2_v3.1.hspy": r"a HyperSpy file of test_diffraction_pattern \(16, 16\): no 4-D signal",
    "real/pixelated_stem_4d_hspy_v3.0.hdf5": r"5 x 2 frames of a raster, but not its step.*Give --scan_step_m",
    "real/fpd_file_test.hdf5": r"2 x 2 frames of a raster, but not its step.*Give --scan_step_m",
    "real/py4DSTEM_size2x3x4x5.h5": r"counts down to -13.* expected counts >= 0. Give --intensity_kind counts",
    "real/empad_xml/EMPAD_v122.xml": r"its frames, scan_x32_y64.raw, are not beside it.*Copy the raw file",
    "real/empad_xml/stack_images.xml": r"its frames, series_x10.raw, are not beside it.*Copy the raw file",
    "real/merlin_mib/001_4x2_6bit.hdr": r"the header of a Merlin scan; .*Give 001_4x2_6bit.mib",
    "real/merlin_mib/001_4x2_6bit.mib": r"2 x 4 frames of a raster, but not its step.*Give --scan_step_m",
    "byhand/empad/map4x4.xml": r"positions in .* span 3.4.*e-06 m, with an object pixel of 3.585e-11 m.*scan_step_m",
    "byhand/eiger/fly001_data_000001.h5": r"the data file of a DECTRIS master; .*Give X_master.h5",
}
NEEDS_RSCIIO = (".mib",)


def _require_packages(name: str) -> None:
    if name.endswith(NEEDS_RSCIIO):
        pytest.importorskip("rsciio", reason="the package rosettasciio is not installed")


@pytest.mark.parametrize("known", STAR, ids=lambda known: known.name)
def test_positions_and_frame_sums_are_those_that_are_known(known: Known, formats_dir: Path) -> None:
    truth = np.load(formats_dir / "written" / "truth.npz")
    with open_scan(formats_dir / known.name) as scan:
        assert scan.header.format_name == known.reader
        expected = truth["pos_rowcol_m"] / truth["dx"]
        moved = scan.positions_px - scan.positions_px.mean(axis=0)
        assert np.abs(moved - (expected - expected.mean(axis=0))).max() < 0.1
        sums = scan.counts().sum(axis=(1, 2), dtype=np.float64)
        np.testing.assert_allclose(sums, truth["frame_sums"], rtol=1e-3)
        assert scan.mask is not None
        assert int((~scan.mask).sum()) == known.bad_pixels
        if known.geometry:
            assert scan.header.energy_eV == pytest.approx(float(truth["energy_eV"]), rel=1e-4)
            assert scan.header.detector_distance_m == pytest.approx(float(truth["distance_m"]), rel=1e-4)
            assert scan.header.pixel_size_m == pytest.approx(float(truth["dx"]), rel=1e-4)


@pytest.mark.parametrize("known", OTHERS, ids=lambda known: known.name)
def test_other_scans_open(known: Opens, formats_dir: Path) -> None:
    _require_packages(known.name)
    with open_scan(formats_dir / known.name, ScanOptions(**known.options)) as scan:
        assert scan.header.format_name == known.reader
        assert (len(scan), scan.header.N) == known.frames
        assert scan.header.pixel_size_m == pytest.approx(known.dx_m, rel=1e-3)


@pytest.mark.parametrize("name", MESSAGES)
def test_what_cannot_be_opened_says_what_it_is_and_what_to_do(name: str, formats_dir: Path) -> None:
    _require_packages(name)
    with pytest.raises(DataFormatError, match=MESSAGES[name]):
        open_scan(formats_dir / name)


def test_results_of_other_programs_are_read(formats_dir: Path) -> None:
    found = read_result(formats_dir / "real" / "scan_scan1.ptyr")
    assert (found.object_.shape, found.probe.shape, len(found.positions_px)) == ((402, 416), (1, 128, 128), 92)
    assert found.geometry.pixel_size_m == pytest.approx(6.358201e-8)
    assert found.metadata.probe_energy_eV == pytest.approx(6200)
    corners = found.positions_px
    assert corners.min() >= 0
    assert (corners.max(axis=0) + 128 <= found.object_.shape).all()
    pair = [read_result(formats_dir / "written" / f"ptychodus_product.{suffix}") for suffix in ("h5", "cxi")]
    np.testing.assert_array_equal(pair[0].object_, pair[1].object_)
    np.testing.assert_allclose(pair[0].positions_px, pair[1].positions_px, atol=1e-6)
