"""DECTRIS masters with their files of frames, and positions in text files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from ptycho_dist.data.scan import ScanOptions, open_scan
from ptycho_dist.errors import DataFormatError
from tests.support.foreign import (
    DETECTOR_PIXEL_M,
    DISTANCE_M,
    DX_M,
    ENERGY_EV,
    POSITIONS_PX,
    RAW,
    N,
    require_scan,
    valid,
    write_hdf5,
)

DETECTOR = "entry/instrument/detector"
SPECIFIC = f"{DETECTOR}/detectorSpecific"
WIDE = np.where(valid(), RAW.astype(np.uint32), 2**32 - 1).astype(np.uint32)


def write_data(path: Path, frames: np.ndarray, first: int) -> None:
    with h5py.File(path, "w") as file:
        kept = file.create_dataset(
            "entry/data/data", data=frames, chunks=(1, *frames.shape[1:]), **hdf5plugin.Bitshuffle(cname="lz4")
        )
        kept.attrs["image_nr_low"], kept.attrs["image_nr_high"] = first, first + len(frames) - 1


def master(folder: Path, **changes: Any) -> Path:
    """Write a master of 20 announced frames in three files, of which the last was never written."""
    write_data(folder / "m_data_000001.h5", WIDE[:9], 1)
    write_data(folder / "m_data_000002.h5", RAW[9:], 10)
    links = {
        f"entry/data/data_{number:06d}": h5py.ExternalLink(f"m_data_{number:06d}.h5", "/entry/data/data")
        for number in (1, 2, 3)
    }
    content = {
        f"{DETECTOR}/x_pixel_size": DETECTOR_PIXEL_M,
        f"{DETECTOR}/y_pixel_size": DETECTOR_PIXEL_M,
        f"{DETECTOR}/detector_distance": DISTANCE_M,
        f"{DETECTOR}/beam_center_x": N / 2,
        f"{DETECTOR}/beam_center_y": N / 2,
        f"{SPECIFIC}/photon_energy": ENERGY_EV,
        f"{SPECIFIC}/pixel_mask": (~valid()).astype(np.uint32),
        f"{SPECIFIC}/nimages": 1,
        f"{SPECIFIC}/ntrigger": 20,
    }
    return write_hdf5(folder / "m_master.h5", links | content | changes)


def table(path: Path, heading: str, columns: list[np.ndarray]) -> ScanOptions:
    np.savetxt(path, np.stack(columns, axis=1), delimiter=",", header=heading, comments="", fmt="%.9g")
    return ScanOptions(positions_file=str(path), file_format="dectris")


def test_frames_that_are_there_are_joined_with_positions_by_trigger(tmp_path: Path) -> None:
    path, twice = master(tmp_path), np.repeat(np.arange(14), 2)
    noise = np.tile([1.0, -1.0], 14)[:, None]
    readings = POSITIONS_PX[twice] * DX_M * 1e6 + noise
    options = table(tmp_path / "p.csv", "x_um,y_um,trigger", [readings[:, 1], readings[:, 0], twice])
    require_scan(path, "dectris", options)
    with open_scan(path, options) as scan:
        said = " ".join(scan.header.conversions)
        assert "20 announced, 14 there; data_000003 not there" in said
        assert "28 readings averaged to 14 by trigger" in said
        assert {one.name for one in scan.companions} == {"m_data_000001.h5", "m_data_000002.h5", "p.csv"}


def test_frames_without_a_position_are_left_out_by_index_from_one(tmp_path: Path) -> None:
    kept = np.delete(np.arange(14), [3, 11])
    path = master(tmp_path)
    options = table(tmp_path / "p.csv", "index,x_nm,y_nm", [kept + 1, *(POSITIONS_PX[kept].T[::-1] * DX_M * 1e9)])
    require_scan(path, "dectris", options, rows=kept)


def test_a_file_of_frames_that_is_absent_in_the_middle_keeps_the_numbers_of_the_others(tmp_path: Path) -> None:
    path = master(tmp_path)
    (tmp_path / "m_data_000001.h5").unlink()
    options = table(tmp_path / "p.csv", "index,x_m,y_m", [np.arange(14), *(POSITIONS_PX.T[::-1] * DX_M)])
    require_scan(path, "dectris", options, rows=np.arange(9, 14))


@pytest.mark.parametrize(
    "changes",
    [
        {f"{DETECTOR}/beam_center_x": 0.0, f"{DETECTOR}/beam_center_y": 0.0},
        {f"{SPECIFIC}/photon_energy": None, "entry/instrument/beam/incident_wavelength": 1.23984198e4 / ENERGY_EV},
        {f"{SPECIFIC}/pixel_mask": None},
    ],
    ids=["no centre", "wavelength", "dead values"],
)
def test_numbers_that_nobody_entered_are_done_without(tmp_path: Path, changes: dict[str, Any]) -> None:
    options = table(tmp_path / "p.csv", "y_m,x_m", list(POSITIONS_PX.T * DX_M))
    require_scan(master(tmp_path, **changes), "dectris", options)


def test_distance_that_nobody_entered_is_asked_for(tmp_path: Path) -> None:
    path = master(tmp_path, **{f"{DETECTOR}/detector_distance": 0.0})
    options = table(tmp_path / "p.csv", "y_m,x_m", list(POSITIONS_PX.T * DX_M))
    with pytest.raises(DataFormatError, match=r"lacks detector_distance_m.*--detector_distance_m"):
        open_scan(path, options)


@pytest.mark.parametrize(
    ("heading", "columns", "words"),
    [
        ("y_m,x_m", 6, "has 14 frames, the file of positions 6"),
        ("y,x", 14, "0 columns of y with a unit"),
        ("y_m,y_um", 14, "2 columns of y with a unit"),
        ("index,x_m,y_m", 3, "column 'index' .* holds 0.5; expected whole numbers"),
    ],
)
def test_positions_that_do_not_fit_are_refused(tmp_path: Path, heading: str, columns: int, words: str) -> None:
    values = [np.arange(columns) + 0.5] * (heading.count(",") + 1)
    with pytest.raises(DataFormatError, match=words):
        open_scan(master(tmp_path), table(tmp_path / "p.csv", heading, values))


def test_what_lacks_frames_or_positions_says_so(tmp_path: Path) -> None:
    path = master(tmp_path)
    with pytest.raises(DataFormatError, match=r"DECTRIS master with 14 frames .* no positions.*--positions_file"):
        open_scan(path)
    with pytest.raises(DataFormatError, match=r"such as the data file of a DECTRIS master; .*Give X_master.h5"):
        open_scan(tmp_path / "m_data_000001.h5")
    for number in (1, 2):
        (tmp_path / f"m_data_00000{number}.h5").unlink()
    with pytest.raises(DataFormatError, match="none of the files of frames that it links to"):
        open_scan(path)


def test_an_arina_raster_is_read_with_what_the_microscope_noted(tmp_path: Path) -> None:
    path = master(tmp_path, **{f"{SPECIFIC}/photon_energy": 3e5, f"{DETECTOR}/detector_distance": 0.0})
    noted = {"NumPixelsX": 7, "NumPixelsY": 2, "Pixel Size": [0.05], "High Tension": [3e5], "Camera Length": [0.115]}
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_group("STEM Metadata").attrs.update(noted)
    with open_scan(path) as scan:
        dx = 1.9687489e-12 / (N * DETECTOR_PIXEL_M / 0.115)
        assert scan.header.pixel_size_m == pytest.approx(dx, rel=1e-4)
        step = 0.05e-9 / dx
        np.testing.assert_allclose(scan.positions_px[[1, 7]], [[0, step], [step, 0]], rtol=1e-4)
    with pytest.raises(DataFormatError, match=r"what the microscope noted .* Give m_master.h5"):
        open_scan(tmp_path / "m.h5")
