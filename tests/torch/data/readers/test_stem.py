"""4D-STEM: a raster, electrons, and the detector in angles or spatial frequencies."""

from __future__ import annotations

import gc
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptycho_dist.data.formats.stem_units import Axis
from ptycho_dist.data.scan import ScanOptions, open_scan
from ptycho_dist.errors import DataFormatError
from tests.support.foreign import write_hdf5

RNG = np.random.default_rng(11)
CUBE = RNG.poisson(40, (3, 4, 12, 10)).astype(np.uint16)
STEP_M, PER_METRE = 0.4e-10, 2.5e9
WAVELENGTH_200_KEV = 2.507934e-12


def require_cube(path: Path, reader: str, options: ScanOptions | None = None, cube: np.ndarray = CUBE) -> None:
    """Compare a raster of frames that are not square, of which the middle is taken."""
    with open_scan(path, options) as scan:
        assert scan.header.format_name == reader
        side = min(cube.shape[2:])
        assert (len(scan), scan.header.N) == (cube.shape[0] * cube.shape[1], side)
        assert scan.header.pixel_size_m == pytest.approx(1 / (side * PER_METRE), rel=1e-4)
        step = STEP_M / scan.header.pixel_size_m
        grid = np.indices(cube.shape[:2]).reshape(2, -1).T * step
        moved = scan.positions_px - scan.positions_px.mean(axis=0)
        np.testing.assert_allclose(moved, grid - grid.mean(axis=0), atol=1e-4)
        found = scan.counts()
        flat = cube.reshape(-1, *cube.shape[2:])
        if cube.shape[2] == cube.shape[3]:
            np.testing.assert_array_equal(found, flat)
        tops, lefts = (range(-side // 2, length) for length in cube.shape[2:])
        padded = np.pad(flat, ((0, 0), (side, side), (side, side)))
        windows = (padded[:, y + side : y + 2 * side, x + side : x + 2 * side] for y in tops for x in lefts)
        assert any(np.array_equal(found, one) for one in windows)


def emd(path: Path, vectors: bool, **changes: Any) -> Path:
    lengths = CUBE.shape if vectors else (2, 2, 2, 2)
    steps = (STEP_M * 1e10,) * 2 + (PER_METRE * 1e-10,) * 2
    content = {f"run/cube/dim{n}": np.arange(lengths[n]) * steps[n] for n in range(4)}
    units = {f"run/cube/dim{n}@units": unit for n, unit in enumerate(("A", "A", "A^-1", "A^-1"))}
    root = {"@authoring_program": "emdfile", "@emd_group_type": "file"}
    return write_hdf5(path, {"run/cube/data": CUBE, "run/metadatabundle/x": 1} | content | changes, units | root)


@pytest.mark.parametrize("vectors", [True, False])
def test_py4dstem_cube_opens(tmp_path: Path, vectors: bool) -> None:
    require_cube(emd(tmp_path / "s.h5", vectors), "py4dstem")


def test_emd_without_a_cube_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="an EMD file without a 4-D datacube"):
        open_scan(emd(tmp_path / "s.h5", False, **{"run/cube/data": CUBE[0], "run/metadatabundle/x": None}))


def hyperspy(path: Path, data: np.ndarray, navigates: tuple[bool, ...], units: tuple[str, ...] | None = None) -> Path:
    scales = [STEP_M * 1e9 if is_scan else PER_METRE * 1e-9 for is_scan in navigates]
    names = units or tuple("nm" if is_scan else "1/nm" for is_scan in navigates)
    with h5py.File(path, "w") as file:
        file.attrs["file_format"] = "HyperSpy"
        group = file.create_group("Experiments/one")
        group["data"] = data
        group.create_group("metadata/Acquisition_instrument/TEM").attrs["beam_energy"] = 200.0
        for n, (scale, unit, is_scan) in enumerate(zip(scales, names, navigates, strict=True)):
            axis = group.create_group(f"axis-{n}")
            axis.attrs.update({"scale": scale, "units": unit, "navigate": is_scan, "size": data.shape[n]})
    return path


def test_hyperspy_signal_opens_in_any_order_of_its_axes(tmp_path: Path) -> None:
    require_cube(hyperspy(tmp_path / "s.hspy", CUBE, (True, True, False, False)), "hyperspy")
    turned = np.moveaxis(CUBE, (0, 1), (2, 3))
    require_cube(hyperspy(tmp_path / "t.hspy", turned, (False, False, True, True)), "hyperspy")


def test_wavelength_of_electrons_is_relativistic(tmp_path: Path) -> None:
    path = hyperspy(tmp_path / "s.hspy", CUBE, (True, True, False, False), ("nm", "nm", "mrad", "mrad"))
    with open_scan(path) as scan:
        assert scan.header.pixel_size_m == pytest.approx(WAVELENGTH_200_KEV / (10 * PER_METRE * 1e-12), rel=1e-5)
        assert scan.header.energy_eV == pytest.approx(2e5)


def test_a_spectrum_is_refused_and_a_missing_step_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=r"a HyperSpy file of one \(12, 10\): no 4-D signal"):
        open_scan(hyperspy(tmp_path / "s.hspy", CUBE[0, 0], (False, False)))
    path = hyperspy(tmp_path / "t.hspy", CUBE, (True, True, False, False), ("", "", "1/nm", "1/nm"))
    with pytest.raises(DataFormatError, match=r"3 x 4 frames of a raster, but not its step.*--scan_step_m"):
        open_scan(path)
    require_cube(path, "hyperspy", ScanOptions(scan_step_m=STEP_M))
    bare = hyperspy(tmp_path / "u.hspy", CUBE, (True, True, False, False), ("nm", "nm", "", ""))
    with pytest.raises(DataFormatError, match=r"the angle of a detector pixel.*--angle_per_pixel_rad"):
        open_scan(bare)
    require_cube(bare, "hyperspy", ScanOptions(angle_per_pixel_rad=WAVELENGTH_200_KEV * PER_METRE))


def test_prismatic_and_fpd_open(tmp_path: Path) -> None:
    steps = (STEP_M * 1e10,) * 2 + (PER_METRE * 1e-10,) * 2
    units = (b"[n_m]", b"[n_m]", b"[n_m^-1]", b"[n_m^-1]")
    root = "4DSTEM_simulation/data/datacubes/CBED_array_depth0001"
    content = {f"{root}/dim{n + 1}": np.arange(CUBE.shape[n]) * steps[n] for n in range(4)}
    first = {root.replace("0001", "0000") + "/datacube": np.zeros_like(CUBE), f"{root}/datacube": CUBE}
    path = write_hdf5(
        tmp_path / "s.emd", content | first, {f"{root}/dim{n + 1}@units": unit for n, unit in enumerate(units)}
    )
    require_cube(path, "prismatic")
    frames = {"fpd_expt/fpd_data/data": CUBE[:, :, None].astype(">u2"), "fpd_expt/fpd_data/dim1": b"y"}
    path = write_hdf5(tmp_path / "f.hdf5", frames)
    options = ScanOptions(scan_step_m=STEP_M, angle_per_pixel_rad=WAVELENGTH_200_KEV * PER_METRE, energy_eV=2e5)
    require_cube(path, "fpd", options)


SQUARE = RNG.normal(400, 20, (3, 4, 128, 128)).astype(np.float32)


def empad(
    folder: Path, field: str, name: str = "scan_x4_y3.raw", sizes: str = "<pix_x>4</pix_x><pix_y>3</pix_y>"
) -> Path:
    stored = np.concatenate([SQUARE, np.full((3, 4, 2, 128), 9e9, np.float32)], axis=2)
    stored.astype("<f4").tofile(folder / name)
    angle = f"<calibrated_diffraction_angle>{WAVELENGTH_200_KEV * PER_METRE}</calibrated_diffraction_angle>"
    path = folder / "scan.xml"
    path.write_text(
        f'<root name="a"><type>scan</type>{sizes}<raw_file filename="{name}"/><iom_measurements>{field}'
        f"<source.get_voltage>200000.0</source.get_voltage>{angle}</iom_measurements></root>"
    )
    return path


OLD_FIELD = f"<optics.get_full_scan_field_of_view>[{3 * STEP_M}, {4 * STEP_M}]</optics.get_full_scan_field_of_view>"
NEW_FIELD = (
    f"<full_scan_field_of_view><scale_factor>0.72</scale_factor><x>{4 * STEP_M * 0.72}</x><y>{3 * STEP_M * 0.72}</y>"
    "</full_scan_field_of_view>"
)


@pytest.mark.parametrize("field", [OLD_FIELD, NEW_FIELD], ids=["old", "new"])
@pytest.mark.parametrize("sizes", ["<pix_x>4</pix_x><pix_y>3</pix_y>", ""], ids=["sizes", "sizes in the name"])
def test_empad_opens_by_either_file(tmp_path: Path, field: str, sizes: str) -> None:
    path = empad(tmp_path, field, sizes=sizes)
    require_cube(path, "empad", cube=SQUARE)
    require_cube(tmp_path / "scan_x4_y3.raw", "empad", cube=SQUARE)
    with open_scan(path) as scan:
        assert scan.companions == (tmp_path / "scan_x4_y3.raw",)


def test_empad_agrees_with_rosettasciio(tmp_path: Path) -> None:
    reader = pytest.importorskip("rsciio.empad", reason="the package rosettasciio is not installed")
    path = empad(tmp_path, OLD_FIELD)
    theirs = reader.file_reader(str(path))[0]["data"]
    with open_scan(path) as scan:
        np.testing.assert_array_equal(scan.counts(), np.asarray(theirs).reshape(-1, 128, 128))


@pytest.mark.parametrize("name", ["../scan_x4_y3.raw", "/etc/hostname", ""])
def test_empad_reads_no_frames_outside_its_folder(tmp_path: Path, name: str) -> None:
    path = empad(tmp_path, OLD_FIELD)
    path.write_text(path.read_text().replace("scan_x4_y3.raw", name))
    with pytest.raises(DataFormatError, match="file of frames; expected one in its folder"):
        open_scan(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("<root", "<!DOCTYPE a [<!ENTITY b 'c'>]><root"), "declarations of entities"),
        (("</root>", ""), "is no readable XML"),
        (("<pix_y>3", "<pix_y>5"), "holds 12 frames, but the raster has 5 lines of 4"),
        ((str(3 * STEP_M), "__import__('os')"), "the field of view .* expected two lengths"),
    ],
)
def test_empad_that_is_damaged_is_refused(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    path = empad(tmp_path, OLD_FIELD)
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(DataFormatError, match=words):
        open_scan(path)


def mib(path: Path, frames: np.ndarray) -> Path:
    """Write frames as a Merlin of one chip does."""
    with path.open("wb") as file:
        for number, frame in enumerate(frames, start=1):
            height, width = frame.shape
            sizes = f"MQ1,{number:06d},00384,01,{width:04d},{height:04d},U16,   1x1,01"
            text = f"{sizes},2021-05-07 18:51:10,0.1,0,0,MQ1A,2021-05-07T16:51:10.905800928Z,100000000ns,12,"
            file.write(text.encode().ljust(384) + frame.astype(">u2").tobytes())
    return path


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_mrc_opens_through_rosettasciio(tmp_path: Path) -> None:
    pytest.importorskip("rsciio", reason="the package rosettasciio is not installed")
    mrcfile = pytest.importorskip("mrcfile", reason="the package mrcfile is not installed")
    path = tmp_path / "s.mrc"
    with mrcfile.new(path) as file:
        file.set_data(CUBE.reshape(12, 12, 10))
        file.set_image_stack()
    with pytest.raises(DataFormatError, match=r"12 frames .*--scan_shape"):
        open_scan(path, ScanOptions(scan_step_m=STEP_M))
    said: dict[str, Any] = {"scan_shape": (3, 4), "scan_step_m": STEP_M, "energy_eV": 2e5}
    options = ScanOptions(angle_per_pixel_rad=WAVELENGTH_200_KEV * PER_METRE, **said)
    require_cube(path, "microscope", options)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(DataFormatError, match=r"s\.mrc"):
        open_scan(path, options)
    gc.collect()  # rosettasciio leaves files of MRC open, which is told here and not in another test


def test_mib_opens_through_rosettasciio(tmp_path: Path) -> None:
    pytest.importorskip("rsciio", reason="the package rosettasciio is not installed")
    frames = RNG.poisson(30, (12, 256, 256)).astype(np.uint16)
    path = mib(tmp_path / "s.mib", frames)
    options = ScanOptions(
        scan_shape=(3, 4), scan_step_m=STEP_M, angle_per_pixel_rad=WAVELENGTH_200_KEV * PER_METRE, energy_eV=2e5
    )
    require_cube(path, "microscope", options, cube=frames[:, ::-1].reshape(3, 4, 256, 256))
    with pytest.raises(DataFormatError, match=r"not how many a line of the raster has.*--scan_shape"):
        open_scan(path)
    with open_scan(path, options) as scan:
        again = pickle.loads(pickle.dumps(scan))
        np.testing.assert_array_equal(again.counts([7, 2]), scan.counts([7, 2]))
    (tmp_path / "s.hdr").write_text(
        "HDR,\t\nFrames per Trigger (Number):\t4\nFrames in Acquisition (Number):\t12\nEnd\t"
    )
    with pytest.raises(DataFormatError, match=r"the header of a Merlin scan; expected its frames. Give s.mib"):
        open_scan(tmp_path / "s.hdr")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("A^-1", "1/a"),
        ("1 / \u00c5", "1/a"),
        ("1/nm", "1/nm"),
        ("[n_m^-1]", "1/nm"),
        ("[n_m]", "nm"),
        ("\u00b5m", "um"),
        ("nm^(-1)", "1/nm"),
        ("mrad", "mrad"),
        ("", ""),
    ],
)
def test_units_are_known_in_their_spellings(text: str, plain: str) -> None:
    assert Axis(step=1.0, unit=text).plain_unit == plain


@pytest.mark.parametrize(("plugin", "file"), [("blockfile", "s.blo"), ("tvips", "s_000.tvips")])
def test_files_that_rosettasciio_writes_open(tmp_path: Path, plugin: str, file: str) -> None:
    writer = pytest.importorskip(f"rsciio.{plugin}", reason="the package rosettasciio is not installed")
    cube = RNG.poisson(30, (3, 4, 32, 32)).astype(np.uint8)
    names = (("y", 0.04, "nm"), ("x", 0.04, "nm"), ("ky", 0.02, "cm"), ("kx", 0.02, "cm"))
    axes = [
        {"name": name, "size": size, "scale": scale, "offset": 0.0, "units": unit, "navigate": n < 2}
        for n, (size, (name, scale, unit)) in enumerate(zip(cube.shape, names, strict=True))
    ]
    microscope = {"TEM": {"beam_energy": 200.0, "camera_length": 100.0}}
    signal = {
        "data": cube,
        "axes": [{**axis, "index_in_array": n} for n, axis in enumerate(axes)],
        "metadata": {"General": {}, "Signal": {}, "Acquisition_instrument": microscope},
        "original_metadata": {},
        "attributes": {"_lazy": False},
    }
    writer.file_writer(str(tmp_path / file), signal)
    options = ScanOptions(
        scan_shape=(3, 4), scan_step_m=STEP_M, angle_per_pixel_rad=WAVELENGTH_200_KEV * PER_METRE, energy_eV=2e5
    )
    require_cube(tmp_path / file, "microscope", options, cube=cube)
