"""Files of other programs: positions within 0.1 px and frame sums within 0.1 % of what is known, or a message."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho_dist.data.scan import ScanOptions, open_scan
from ptycho_dist.errors import DataFormatError

UNKNOWN = """\
patterns: {path: entry/merlin/data}
positions:
  y: {path: entry/merlin/y, unit: um}
  x: {path: entry/merlin/x, unit: um}
mask: {path: entry/mask, nonzero: bad}
energy: {path: entry/instrument/energy, unit: eV}
distance: {path: entry/instrument/distance_mm, unit: mm}
detector_pixel: {value: 75, unit: um}
"""


@dataclass(frozen=True)
class Known:
    """A scan of the star: how it is read, and how many of the known frames it has.

    Parameters
    ----------
    name
        File in the folder of formats.
    reader
        Name of the reader that is to be found.
    n_frames
        The first of the known ones.
    geometry
        Whether it tells energy and distance.
    scan_map
        A map of one's own.
    """

    name: str
    reader: str
    n_frames: int = 40
    geometry: bool = True
    scan_map: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


SCANS = (
    Known("written/foldslice_dp.hdf5", "map fold_slice", geometry=False),
    Known("written/foldslice_para.hdf5", "map fold_slice", geometry=False),
    Known("written/beamline_unknown.h5", "map beamline", scan_map=UNKNOWN),
    Known("byhand/hxn_scan_1.h5", "map nsls2_hxn", n_frames=10),
    Known("byhand/ptylab.hdf5", "map ptylab"),
    Known("byhand/eiger/fly001_master.h5", "map aps_velociprobe"),
)
MESSAGES = {
    "real/nanomax_000008.h5": r"scan without its frames, by the map nanomax: .*'scan_000008_pilatus.hdf5' is not in "
    r"the folder.*Copy that file beside this one",
    "real/nxcxi_ptycho_list_crop.nxs": r"energy .* is 0.00938099 eV; expected 10 to 300000 eV",
    "real/Run1084_recon3_postPC.npz": r"a result without patterns; expected a scan. Give the file of the patterns",
    "written/beamline_unknown.h5": r"no known scan format.*ptycho-dist inspect.*--write_map",
}


@pytest.mark.parametrize("known", SCANS, ids=lambda known: known.name)
def test_positions_and_frame_sums_are_those_that_are_known(known: Known, formats_dir: Path, tmp_path: Path) -> None:
    with np.load(formats_dir / "written" / "truth.npz") as held:
        truth = dict(held)
    options = dict(known.options)
    if known.scan_map is not None:
        (tmp_path / "beamline.yaml").write_text(known.scan_map)
        options["map"] = str(tmp_path / "beamline.yaml")
    with open_scan(formats_dir / known.name, ScanOptions(**options)) as scan:
        assert scan.header.format_name == known.reader
        assert len(scan) == known.n_frames
        expected = truth["scan_px"][: known.n_frames]
        moved = scan.positions_px - scan.positions_px.mean(axis=0)
        assert np.abs(moved - (expected - expected.mean(axis=0))).max() < 0.1
        sums = scan.counts().sum(axis=(1, 2), dtype=np.float64)
        np.testing.assert_allclose(sums, truth["frame_sums"][: known.n_frames], rtol=1e-3)
        assert scan.header.pixel_size_m == pytest.approx(float(truth["dx"]), rel=1e-4)
        assert scan.header.energy_eV == pytest.approx(float(truth["energy_eV"]), rel=1e-4)
        if known.geometry:
            assert scan.header.detector_distance_m == pytest.approx(float(truth["distance_m"]), rel=1e-4)


@pytest.mark.parametrize("name", MESSAGES)
def test_what_cannot_be_opened_says_what_it_is_and_what_to_do(name: str, formats_dir: Path) -> None:
    with pytest.raises(DataFormatError, match=MESSAGES[name]):
        open_scan(formats_dir / name)


def test_a_real_matlab_file_behind_a_user_block(formats_dir: Path) -> None:
    with open_scan(formats_dir / "real" / "ptylab_matlab73_SimuData_New.mat") as scan:
        assert scan.header.format_name == "map ptylab"
        assert (len(scan), scan.header.N) == (22, 64)
        assert scan.header.pixel_size_m == pytest.approx(632.8e-9 * 0.01 / (64 * 144e-6), rel=1e-3)
        assert np.ptp(scan.positions_px) > 5
