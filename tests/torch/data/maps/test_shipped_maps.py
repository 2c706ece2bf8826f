"""Each shipped map reads a file in the layout of its beamline, which the test makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptycho_dist.data.maps.loading import SHIPPED
from ptycho_dist.data.scan import ScanOptions, open_scan
from ptycho_dist.errors import DataFormatError

RNG = np.random.default_rng(11)
B, N = 12, 32
ENERGY_EV, DISTANCE_M, PIXEL_M = 8000.0, 2.0, 75e-6
LAMBDA_M = 1.23984198e-6 / ENERGY_EV
DX = LAMBDA_M * DISTANCE_M / (N * PIXEL_M)
FRAMES = RNG.poisson(30.0, (B, N, N)).astype(np.uint16)
CORNERS = RNG.uniform(0, 40, (B, 2))
Y, X = (CORNERS * DX).T
GEOMETRY = {"detector_distance_m": DISTANCE_M, "detector_pixel_m": PIXEL_M}
EV_J = 1.602176634e-19


@dataclass
class Layout:
    """A scan as a beamline writes it.

    Parameters
    ----------
    values
        Datasets by path, of the file that is opened.
    attributes
        By the path of their dataset.
    others
        Other files, by their names: datasets, or the text of a text file.
    name
        Of the file that is opened.
    options
        What the file does not say.
    positions, frames
        What is expected: of all patterns.
    """

    values: dict[str, Any]
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)
    name: str = "scan_7.h5"
    options: dict[str, Any] = field(default_factory=dict)
    positions: np.ndarray = field(default_factory=lambda: CORNERS)
    frames: np.ndarray = field(default_factory=lambda: FRAMES)


def write(path: Path, values: dict[str, Any], attributes: dict[str, dict[str, Any]]) -> None:
    with h5py.File(path, "w") as file:
        for key, value in values.items():
            file[key] = value
        for key, said in attributes.items():
            file.require_group(key) if key not in file else None
            file[key].attrs.update(said)


def grid(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Axes of a raster in metres, and its corners in pixels."""
    y, x = np.arange(rows) * 5.0, np.arange(columns) * 4.0
    corners = np.stack([one.ravel() for one in np.meshgrid(y, x, indexing="ij")], axis=1)
    return y * DX, x * DX, corners


def nxcxi_list() -> Layout:
    translation = np.stack([X, Y, 0 * X], axis=1)
    detector = "entry_1/instrument_1/detector_1"
    values = {"entry_1/data_1/data": FRAMES.astype(float), "entry_1/data_1/translation": translation,
              f"{detector}/distance": DISTANCE_M * 1e3, f"{detector}/x_pixel_size": PIXEL_M * 1e6,
              "entry_1/instrument_1/beam_1/energy": ENERGY_EV * 1e-3, "entry_1/instrument_1/source_1/energy": 3.0,
              "entry_1/sample_1/name": "star", "cxi_version": ""}  # fmt: skip
    units = {f"{detector}/distance": {"units": "mm"}, f"{detector}/x_pixel_size": {"units": "um"},
             "entry_1/instrument_1/beam_1/energy": {"units": "keV"}}  # fmt: skip
    return Layout(values, units, name="scan.nxs")


def nxcxi_raster() -> Layout:
    values = {"entry_1/data/data": FRAMES.reshape(3, 4, N, N), "entry_1/data/y": Y.reshape(3, 4) * 1e6,
              "entry_1/data/x": X.reshape(3, 4) * 1e6, "entry_1/instrument_1/detector_1/distance": DISTANCE_M,
              "entry_1/instrument/detector/x_pixel_size": PIXEL_M, "entry_1/sample_1/name": "star",
              "entry_1/instrument_1/beam_1/energy": ENERGY_EV * EV_J}  # fmt: skip
    return Layout(values, {f"entry_1/data/{one}": {"units": "um"} for one in "yx"}, name="scan.nxs")


def diamond_j08() -> Layout:
    values = {"entry_1/data/data": FRAMES, "entry_1/data/y": (Y * 1e6).reshape(B, 1, 1),
              "entry_1/data/x": (X * 1e6).reshape(B, 1, 1), "entry_1/sample_1/name": "star",
              "entry_1/instrument_1/detector_1/distance": DISTANCE_M,
              "entry_1/instrument_1/detector_1/x_pixel_size": PIXEL_M,
              "entry_1/instrument_1/beam_1/energy": [ENERGY_EV]}  # fmt: skip
    units = {f"entry_1/data/{one}": {"units": "um"} for one in "yx"}
    return Layout(values, units | {"entry_1/instrument_1/beam_1/energy": {"units": "eV"}}, name="scan.nxs")


def diamond_i13() -> Layout:
    base = "entry1/instrument"
    values = {f"{base}/merlin_sw_hdf/data": FRAMES, f"{base}/merlin_sw_hdf/count_time": np.full(B, 0.1),
              f"{base}/t1_sxy/t1_sy": Y * 1e6, f"{base}/t1_sxy/t1_sx": X * 1e6}  # fmt: skip
    return Layout(values, name="i13-1.nxs", options=GEOMETRY | {"energy_eV": ENERGY_EV})


def diamond_i14() -> Layout:
    y, x, corners = grid(3, 4)
    base = "entry1/merlin_sw_hdf"
    values = {f"{base}/data": FRAMES.reshape(3, 4, N, N), f"{base}/lab_sy": y * 1e3, f"{base}/lab_sx": -x * 1e3}
    return Layout(values, name="i14.nxs", options=GEOMETRY | {"energy_eV": ENERGY_EV}, positions=corners)


def diamond_i14_entry() -> Layout:
    base = "entry/merlin"
    values = {f"{base}/data": FRAMES, f"{base}/lab_sy_value": Y * 1e3, f"{base}/lab_sx_value": -X * 1e3}
    return Layout(values, name="i14.nxs", options=GEOMETRY | {"energy_eV": ENERGY_EV})


def diamond_i08() -> Layout:
    second = {
        "entry1/Counter1/sample_y": Y * 1e6,
        "entry1/Counter1/sample_x": X * 1e6,
        "entry1/Counter1/energy": ENERGY_EV,
    }
    frames = {"entry1/instrument/_andorrastor/data": FRAMES.reshape(3, 4, N, N)}
    return Layout(frames, others={"i08-1.nxs": second}, name="i08-1_andor.h5", options=GEOMETRY)


def nanomax() -> Layout:
    inner = "entry/instrument/Pilatus3/data"
    values = {"entry/measurement/pilatus/frames": h5py.ExternalLink("scan_pilatus.hdf5", inner),
              "entry/measurement/xspress3": h5py.ExternalLink("absent.hdf5", "entry/instrument/xspress3"),
              "entry/measurement/pseudo/x": X * 1e6, "entry/measurement/pseudo/y": Y * 1e6,
              "entry/snapshots/pre_scan/energy": [ENERGY_EV], "entry/measurement/sy": np.arange(3.0)}  # fmt: skip
    values_of_frames = FRAMES.astype(np.int32)
    values_of_frames[:, 3, 4], values_of_frames[:, 5, 6] = -1, -2
    expected = FRAMES.copy()
    expected[:, 3, 4] = expected[:, 5, 6] = 0
    others = {"scan_pilatus.hdf5": {inner: values_of_frames}}
    return Layout(values, others=others, name="000008.h5", options=GEOMETRY, frames=expected)


def nsls2_hxn() -> Layout:
    values = {"diffamp": np.fft.ifftshift(np.sqrt(FRAMES), axes=(1, 2)), "points": np.stack([-Y, -X]) * 1e6,
              "lambda_nm": LAMBDA_M * 1e9, "z_m": DISTANCE_M, "ccd_pixel_um": PIXEL_M * 1e6}  # fmt: skip
    return Layout(values)


def nsls2_holoptycho() -> Layout:
    values = {"dp": FRAMES.astype(np.float32), "points": np.stack([-Y, -X]) * 1e6,
              "lambda_nm": LAMBDA_M * 1e9, "z_m": DISTANCE_M, "ccd_pixel_um": PIXEL_M * 1e6}  # fmt: skip
    return Layout(values, name="12_dp.hdf5")


def nsls2_style1() -> Layout:
    values = {"diff_data/merlin1/det_images": FRAMES, "scan/energy": ENERGY_EV,
              "scan/scan_positions": np.stack([X, Y]) * 1e6}  # fmt: skip
    return Layout(values, options=GEOMETRY)


def nsls2_mat() -> Layout:
    values = {"det_data": FRAMES, "pos_xy": np.stack([X, Y], axis=1) * 1e6, "det_dist": [[DISTANCE_M * 1e6]],
              "det_pixel_size": [[PIXEL_M * 1e6]], "energy": [[ENERGY_EV * 1e-3]]}  # fmt: skip
    return Layout(values, name="scan.mat")


def aps_velociprobe() -> Layout:
    detector = "entry/instrument/detector"
    mask = np.zeros((N, N), np.uint32)
    mask[3, 4] = 8
    frames = FRAMES.astype(np.uint32)
    frames[:, 3, 4] = 2**32 - 1
    values = {
        f"entry/data/data_00000{n}": h5py.ExternalLink(f"fly_data_00000{n}.h5", "entry/data/data") for n in (1, 2, 3)
    }
    values |= {f"{detector}/detectorSpecific/photon_energy": ENERGY_EV, f"{detector}/detectorSpecific/pixel_mask": mask,
               f"{detector}/detector_distance": DISTANCE_M, f"{detector}/x_pixel_size": PIXEL_M,
               f"{detector}/beam_center_x": 0.0, f"{detector}/beam_center_y": 0.0,
               "entry/sample/goniometer/chi": 60.0}  # fmt: skip
    units = {"entry/sample/goniometer/chi": {"units": np.bytes_(b"degree")}}
    rows = [
        f"0,{2 * x * 1e9 + d},{y * 1e9 - d},0,0,0,0,{n}"
        for n, (y, x) in enumerate(zip(Y, X, strict=True))
        for d in (-1, 1)
    ]
    others: dict[str, Any] = {"fly_pos.csv": "# a heading\n" + "\n".join(rows)}
    others |= {
        "fly_data_000001.h5": {"entry/data/data": frames[:7]},
        "fly_data_000002.h5": {"entry/data/data": frames[7:]},
    }
    expected = FRAMES.copy()
    expected[:, 3, 4] = 0
    return Layout(values, units, others, "fly_master.h5", frames=expected)


def aps_bionanoprobe() -> Layout:
    y, x, corners = grid(3, 5)
    lengths = (5, 4, 3)
    ends = np.cumsum(lengths)
    lines = {f"scan_{n + 1}.h5": {"entry/data/data": FRAMES[ends[n] - k : ends[n]]} for n, k in enumerate(lengths)}
    rows = np.concatenate([np.arange(k) + 5 * n for n, k in enumerate(lengths)])
    values = {"MAPS/x_axis": x * 1e6, "MAPS/y_axis": y * 1e6}
    options = {"detector_distance_m": DISTANCE_M, "energy_eV": ENERGY_EV}
    return Layout(values, others=lines, name="scan.mda.h5", options=options, positions=corners[rows])


def aps_12id() -> Layout:
    y, x = CORNERS.T * (LAMBDA_M * DISTANCE_M / (N * 172e-6))
    others: dict[str, Any] = {}
    for n in range(B):
        name = f"s12_{n // 4}_{n % 4}"
        others[f"{name}.dat"] = "\n".join(
            f"{t} {y[n] * 1e9 + d:.6f} {-x[n] * 1e9 - d:.6f}" for t, d in enumerate((-1, 1))
        )
        others[f"{name}.h5"] = {
            "entry/data/data": FRAMES[n : n + 1],
            "entry/instrument/NDAttributes/monoE": [ENERGY_EV],
        }
    first = others.pop("s12_0_0.h5")
    return Layout(first, others=others, name="s12_0_0.h5", options={"detector_distance_m": DISTANCE_M})


def aps_12id_processed() -> Layout:
    y, x = CORNERS.T * (LAMBDA_M * DISTANCE_M / (N * 172e-6))
    values = {f"line_{n}/dp": FRAMES[4 * n : 4 * n + 4] for n in range(3)}
    values |= {f"line_{n}/positions": np.stack([y, x], axis=1)[4 * n : 4 * n + 4] for n in range(3)}
    return Layout(values, options={"detector_distance_m": DISTANCE_M, "energy_eV": ENERGY_EV})


def dat(columns: str = "DataPoint TotalPoints Target_x Average_x_st_fzp Target_y Average_y_st_fzp") -> str:
    rows = [f"{n} {B} 0 {-x * 1e6:.9f} 0 {-y * 1e6:.9f}" for n, (y, x) in enumerate(zip(Y, X, strict=True))]
    return "\n".join(["Scan 7", columns, *rows])


def aps_lynx() -> Layout:
    said = {"Photon_energy_kev": ENERGY_EV * 1e-3, "Detector_distance_m": DISTANCE_M, "Pixel_size": PIXEL_M}
    return Layout({"entry/data/eiger_4": FRAMES}, {"entry/data/eiger_4": said}, {"scan_7.dat": dat()})


def aps_lamni() -> Layout:
    values = {"entry/data/data": FRAMES, "entry/instrument/monochromator/energy": ENERGY_EV,
              "entry/instrument/detector/distance": DISTANCE_M * 1e3,
              "entry/instrument/detector/x_pixel_size": PIXEL_M * 1e6,
              "entry/metadata_units/MonoEnergy_EGU": b"eV"}  # fmt: skip
    return Layout(values, others={"scan_7.dat": dat()})


def aps_isn() -> Layout:
    values = {"entry/data/data": FRAMES, "entry/data/X_Position": X * 1e6, "entry/data/Y_Position": Y * 1e6,
              "entry/instrument/NDAttributes/Wavelength": np.full(B, LAMBDA_M * 1e10)}  # fmt: skip
    return Layout(values, options=GEOMETRY)


def aps_cssi() -> Layout:
    values = {"exchange/data": FRAMES, "exchange/motor_pos": np.stack([X, Y], axis=1) * 1e3}
    return Layout(values, options=GEOMETRY | {"energy_eV": ENERGY_EV})


def csaxs() -> Layout:
    values = {"entry/data/data": FRAMES, "entry/instrument/monochromator/energy": ENERGY_EV * 1e-3,
              "entry/instrument/monochromator/distance": -DISTANCE_M * 1e3,
              "entry/instrument/eiger_4/x_pixel_size": PIXEL_M * 1e6}  # fmt: skip
    return Layout(values, others={"scan_7_positions.dat": dat()})


def ptychoshelves() -> Layout:
    whole = np.rint(CORNERS).astype(np.uint32)
    values = {"measurement/n0/data": FRAMES.transpose(0, 2, 1), "measurement/n0/positions": whole[:, ::-1]}
    return Layout(values, positions=whole.astype(float))


def fold_slice() -> Layout:
    para = {"ppX": -X, "ppY": -Y.reshape(1, B), "lambda": LAMBDA_M, "dx": DX}
    return Layout({"dp": FRAMES}, others={"data_roi0_para.hdf5": para}, name="data_roi0_dp.hdf5")


def fold_slice_electrons() -> Layout:
    """Lengths in angstrom, at an object pixel of 0.3 angstrom; of a line along x, whose rows hardly differ."""
    dx = 0.3
    corners = np.stack([RNG.normal(0, 0.001, B), np.arange(B) * 2.0], axis=1)
    para = {"ppX": -corners[:, 1] * dx, "ppY": -corners[:, 0] * dx, "lambda": 0.02507934, "dx": dx}
    layout = Layout({"dp": FRAMES}, others={"data_roi0_para.hdf5": para}, name="data_roi0_dp.hdf5")
    layout.positions = corners
    return layout


def ptychovit() -> Layout:
    probe = np.exp(-(np.arange(-16, 16) ** 2) / 40.0)
    para = {"probe_position_x_m": X, "probe_position_y_m": Y, "object": np.ones((80, 80), complex),
            "probe": (probe * probe[:, None])[None, None].astype(complex)}  # fmt: skip
    dp = {"dp": FRAMES}
    positions = CORNERS - N / 2
    layout = Layout(para, {"object": {"pixel_height_m": DX, "pixel_width_m": DX}}, {"a_dp.hdf5": dp}, "a_para.hdf5")
    layout.positions = positions
    return layout


def ptylab() -> Layout:
    values = {"ptychogram": FRAMES.astype(np.float32), "encoder": np.stack([Y, X], axis=1), "wavelength": [LAMBDA_M],
              "zo": [DISTANCE_M], "dxd": [PIXEL_M]}  # fmt: skip
    return Layout(values)


def areadetector() -> Layout:
    base = "entry/instrument/NDAttributes"
    values = {"entry/data/data": FRAMES, f"{base}/X_Position": X * 1e6, f"{base}/Y_Position": Y * 1e6,
              f"{base}/monoE": np.full(B, ENERGY_EV),
              f"{base}/DetectorDistance": np.full(B, DISTANCE_M * 1e3)}  # fmt: skip
    return Layout(values, options={"detector_pixel_m": PIXEL_M})


def ingest_kit() -> Layout:
    mask = np.zeros((N, N))
    mask[1, 2] = 1
    values = {"entry/data": FRAMES + 2, "entry/pos": np.stack([X, Y], axis=1), "entry/energy_eV": ENERGY_EV,
              "entry/det_dist_m": DISTANCE_M, "entry/pixel_m": PIXEL_M, "entry/mask": mask,
              "entry/dark": np.full((3, N, N), 2.0)}  # fmt: skip
    expected = FRAMES.copy()
    expected[:, 1, 2] = 0
    return Layout(values, frames=expected)


LAYOUTS: dict[Callable[[], Layout], str] = {
    nxcxi_list: "nxcxi_ptycho",
    nxcxi_raster: "nxcxi_ptycho",
    diamond_j08: "nxcxi_ptycho",
    **{one: one.__name__ for one in (diamond_i13, diamond_i14, diamond_i14_entry, diamond_i08, nanomax)},
    **{one: one.__name__ for one in (nsls2_hxn, nsls2_holoptycho, nsls2_style1, nsls2_mat, aps_velociprobe)},
    **{one: one.__name__ for one in (aps_bionanoprobe, aps_12id, aps_12id_processed, aps_lynx, aps_lamni, aps_isn)},
    **{one: one.__name__ for one in (aps_cssi, csaxs, ptychoshelves, fold_slice, ptychovit, ptylab, areadetector)},
    fold_slice_electrons: "fold_slice",
    ingest_kit: "ingest_kit",
}


def made(layout: Layout, folder: Path) -> Path:
    for name, content in layout.others.items():
        if isinstance(content, str):
            (folder / name).write_text(content)
        else:
            write(folder / name, content, {})
    write(folder / layout.name, layout.values, layout.attributes)
    return folder / layout.name


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_a_file_of_the_beamline_opens(make: Callable[[], Layout], tmp_path: Path) -> None:
    layout = make()
    path = made(layout, tmp_path)
    with open_scan(path, ScanOptions(**layout.options)) as scan:
        assert scan.header.format_name == f"map {LAYOUTS[make]}"
        np.testing.assert_allclose(scan.positions_px, layout.positions, atol=1e-4)
        np.testing.assert_allclose(scan.counts(), layout.frames, rtol=1e-6)
        assert {one.name for one in scan.companions} <= {*layout.others}


def test_every_shipped_map_has_a_layout_here() -> None:
    assert {path.stem for path in SHIPPED.glob("*.yaml")} == {*LAYOUTS.values()}


def test_either_file_of_a_pair_may_be_given(tmp_path: Path) -> None:
    made(fold_slice(), tmp_path)
    with open_scan(tmp_path / "data_roi0_dp.hdf5") as one, open_scan(tmp_path / "data_roi0_para.hdf5") as other:
        np.testing.assert_array_equal(one.positions_px, other.positions_px)
        np.testing.assert_array_equal(one.counts(), other.counts())


def test_electrons_of_fold_slice_are_in_angstrom(tmp_path: Path) -> None:
    path = made(fold_slice_electrons(), tmp_path)
    with open_scan(path) as scan:
        assert scan.raw.is_electron
        assert scan.header.energy_eV == pytest.approx(2e5, rel=1e-4)
        assert scan.header.pixel_size_m == pytest.approx(0.3e-10)
        assert any("positions" in one and "in A, for 6.6 can be no m" in one for one in scan.header.conversions)
    with h5py.File(tmp_path / "data_roi0_para.hdf5", "a") as file:
        del file["lambda"], file["dx"]
    with open_scan(path, ScanOptions(pixel_size_m=0.3e-10)) as scan:
        np.testing.assert_allclose(np.ptp(scan.positions_px[:, 1]), 22, rtol=1e-6)
    photons = made(fold_slice(), tmp_path)
    with open_scan(photons) as scan:
        assert not scan.raw.is_electron
        assert not any("can be no" in one for one in scan.header.conversions)


def test_a_scan_without_its_detector_file_says_so(tmp_path: Path) -> None:
    path = made(nanomax(), tmp_path)
    (tmp_path / "scan_pilatus.hdf5").unlink()
    with pytest.raises(
        DataFormatError, match=r"scan without its frames.*'scan_pilatus.hdf5' is not in the folder.*Copy"
    ):
        open_scan(path)


def test_what_a_beamline_does_not_store_is_asked_for_by_flag(tmp_path: Path) -> None:
    path = made(nanomax(), tmp_path)
    with pytest.raises(DataFormatError, match=r"lacks detector_distance_m, detector_pixel_m.*--detector_distance_m"):
        open_scan(path)
    with open_scan(path, ScanOptions(pixel_size_m=DX)) as scan:
        np.testing.assert_allclose(scan.positions_px, CORNERS, atol=1e-6)


def test_the_energy_of_the_ring_is_not_taken(tmp_path: Path) -> None:
    layout = nxcxi_list()
    layout.attributes["entry_1/instrument_1/beam_1/energy"] = {"units": "GeV"}
    with pytest.raises(DataFormatError, match=r"8e\+09 eV; expected 10 to 300000 eV"):
        open_scan(made(layout, tmp_path))


def test_lines_and_frames_that_are_missing_keep_the_others_in_place(tmp_path: Path) -> None:
    layout = aps_bionanoprobe()
    counter = "entry/instrument/NDAttributes/NDArrayUniqueId"
    layout.others = {
        "scan_1.h5": {"entry/data/data": FRAMES[:3], counter: [7, 8, 11]},  # the third and fourth were dropped
        "scan_3.h5": {"entry/data/data": FRAMES[3:8].astype(np.uint32), counter: [1, 2, 3, 4, 5]},
    }
    path = made(layout, tmp_path)
    rows = [0, 1, 4, 10, 11, 12, 13, 14]
    with open_scan(path, ScanOptions(**layout.options)) as scan:
        np.testing.assert_allclose(scan.positions_px, grid(3, 5)[2][rows], atol=1e-6)
        np.testing.assert_array_equal(scan.counts(), FRAMES[:8])
        assert "positions: 7 of the raster left out, which have no frame" in scan.header.conversions
    write(tmp_path / "scan_1.h5", {"entry/data/data": FRAMES[:3], counter: [7, 7, 8]}, {})
    with pytest.raises(DataFormatError, match="does not rise with its 3 frames"):
        open_scan(path, ScanOptions(**layout.options))
    (tmp_path / "scan_1.h5").unlink()
    write(tmp_path / "scan_9.h5", {"entry/data/data": FRAMES[:3]}, {})
    with pytest.raises(DataFormatError, match="files of frames for 7 lines"):
        open_scan(path, ScanOptions(**layout.options))


@pytest.mark.parametrize("has_numbers", [True, False])
def test_a_part_is_missing_in_the_middle(tmp_path: Path, has_numbers: bool) -> None:
    layout = aps_velociprobe()
    frames = layout.others.pop("fly_data_000002.h5")["entry/data/data"]
    path = made(layout, tmp_path)
    write(tmp_path / "fly_data_000003.h5", {"entry/data/data": frames[:3]},
          {"entry/data/data": {"image_nr_low": np.int32(8)}} if has_numbers else {})  # fmt: skip
    if not has_numbers:
        with pytest.raises(DataFormatError, match="nothing tells their numbers"):
            open_scan(path)
        return
    with open_scan(path) as scan:
        np.testing.assert_allclose(scan.positions_px, CORNERS[:10], atol=1e-4)
        np.testing.assert_array_equal(scan.counts(), layout.frames[:10])
        assert "patterns: 2 of 3 announced parts are there" in scan.header.conversions


@pytest.mark.parametrize("orientation", range(8))
def test_an_orientation_in_the_file_turns_the_frames(tmp_path: Path, orientation: int) -> None:
    layout = ptylab()
    layout.values["orientation"] = orientation
    expected = FRAMES.transpose(0, 2, 1) if orientation & 4 else FRAMES
    expected = np.roll(expected[:, ::-1], 1, axis=1) if orientation & 2 else expected
    expected = np.roll(expected[:, :, ::-1], 1, axis=2) if orientation & 1 else expected
    with open_scan(made(layout, tmp_path)) as scan:
        np.testing.assert_array_equal(scan.counts(), expected)


def test_fourier_ptychography_is_refused(tmp_path: Path) -> None:
    layout = ptylab()
    layout.values["zled"] = 0.1
    with pytest.raises(DataFormatError, match="Fourier ptychography"):
        open_scan(made(layout, tmp_path))


def test_hdf5_behind_a_user_block(tmp_path: Path) -> None:
    layout = ptylab()
    path = tmp_path / "simulated.mat"
    x = (np.arange(N) - N / 2) * PIXEL_M
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, value in (layout.values | {"xd": x[:, None], "positions": np.stack([Y, X])}).items():
            if key not in ("dxd", "encoder"):
                file[key] = value
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file")
    with open_scan(path) as scan:
        np.testing.assert_allclose(scan.positions_px, CORNERS, atol=1e-4)
