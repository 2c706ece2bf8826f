"""Scans in the formats of other programs, read by those programs where they are installed."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import ptycho_dist as ptd
from ptycho_dist.cli import main
from ptycho_dist.convert.run import convert_to
from ptycho_dist.data.scan import open_scan
from tests.support.scans import MadeScan, make_scan, write_own
from tests.support.threads import on_ranks

UNITS = {"pixel_size_m": 2.5e-8, "energy_eV": 8800.0, "detector_distance_m": 1.92}
DETECTOR_PIXEL_M = 1.239841984e-6 / 8800 * 1.92 / (16 * 2.5e-8)
ORIGIN = (0.25, -3.0)


@pytest.fixture
def made() -> MadeScan:
    """Make a scan whose pixels (2, 3) and (9, 14) are masked, at fractional positions."""
    scan = make_scan(n_modes=2)
    counts = scan.counts.copy()
    counts[:, [2, 9], [3, 14]] = 0
    return MadeScan(counts, scan.positions_px + np.array([0.25, -0.5]), scan.probe, scan.object_)


@pytest.fixture
def mask() -> NDArray[np.bool_]:
    """Mark the valid pixels."""
    mask = np.ones((16, 16), np.bool_)
    mask[[2, 9], [3, 14]] = False
    return mask


@pytest.fixture
def source(tmp_path: Path, made: MadeScan, mask: NDArray[np.bool_]) -> Path:
    """Write it in our own layout."""
    return write_own(tmp_path / "s.h5", made, mask=mask, object_origin_px=ORIGIN, nphotons=1e4, **UNITS)


def write(source: Path, name: str, target: Path) -> tuple[str, ...]:
    """Convert, and return what is lost."""
    with open_scan(source) as scan:
        return convert_to(name, scan, target).lost


@pytest.mark.parametrize(
    ("name", "file", "lost"),
    [
        ("cxi", "c.cxi", "the object; the nominal number of photons; the notes"),
        ("ptyd", "c.ptyd", "the probe; the object; the nominal number of photons; the notes"),
        ("ptychodus", "c.h5", "the nominal number of photons; the notes"),
        ("ptychopinn_npz", "c.npz", "the size of an object pixel; the energy; the distance of the detector; the notes"),
        (
            "tike_npz",
            "c.npz",
            "the mask (bad pixels stay as zeros); the nominal number of photons; the size of an object pixel; "
            "the energy; the distance of the detector; the notes",
        ),
    ],
)
def test_what_a_format_cannot_hold_is_told(
    tmp_path: Path, source: Path, name: str, file: str, lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = write(source, name, tmp_path / "out" / file)
    assert "; ".join(found).startswith(lost)
    assert f"{file} cannot hold {found[0]}; left out" in caplog.text


@pytest.mark.parametrize(("name", "file"), [("ptychopinn_npz", "c.npz"), ("tike_npz", "c.npz")])
def test_npz_formats_read_back(tmp_path: Path, source: Path, made: MadeScan, name: str, file: str) -> None:
    write(source, name, tmp_path / file)
    with open_scan(tmp_path / file) as scan:
        np.testing.assert_allclose(scan.read_patterns(np.arange(12)), made.counts, rtol=1e-6)
        np.testing.assert_allclose(scan.positions_px - np.asarray(scan.object_origin_px), made.positions_px - ORIGIN)
        np.testing.assert_array_equal(scan.object_, made.object_)
        np.testing.assert_array_equal(scan.probe, made.probe)
        assert scan.header.format_name == name
    with zipfile.ZipFile(tmp_path / file) as archive:
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.filterwarnings("ignore::DeprecationWarning:cdtools")
def test_cxi_opens_in_cdtools(tmp_path: Path, source: Path, made: MadeScan, mask: NDArray[np.bool_]) -> None:
    datasets = pytest.importorskip("cdtools.datasets", reason="the package cdtools-py is not installed")
    interactions = pytest.importorskip("cdtools.tools.interactions")
    initializers = pytest.importorskip("cdtools.tools.initializers")
    write(source, "cxi", tmp_path / "c.cxi")
    found = datasets.Ptycho2DDataset.from_cxi(tmp_path / "c.cxi")
    np.testing.assert_array_equal(found.patterns.numpy(), made.counts)
    np.testing.assert_array_equal(found.mask.numpy(), mask)
    assert found.wavelength.item() == pytest.approx(1.239841984e-6 / 8800, rel=1e-6)
    assert found.detector_geometry["distance"] == pytest.approx(1.92)
    basis = initializers.exit_wave_geometry(
        found.detector_geometry["basis"],
        found.patterns.shape[-2:],
        found.wavelength,
        found.detector_geometry["distance"],
    )
    pixels = interactions.translations_to_pixel(basis, found.translations).numpy()
    _require_corners(pixels, made)
    assert np.linalg.norm(np.asarray(basis)[:, 0]) == pytest.approx(2.5e-8, rel=1e-5)


def _require_corners(found: NDArray[np.floating], made: MadeScan) -> None:
    expected = made.positions_px - made.positions_px.mean(axis=0)
    np.testing.assert_allclose(found - found.mean(axis=0), expected, atol=1e-3)


def test_pair_opens_in_ptychodus(tmp_path: Path, source: Path, made: MadeScan, mask: NDArray[np.bool_]) -> None:
    ptychodus = pytest.importorskip("ptychodus.api.io", reason="the package ptychodus is not installed")
    write(source, "ptychodus", tmp_path / "run_diffraction.h5")
    data = ptychodus.load_diffraction_data(tmp_path / "run_diffraction.h5")
    np.testing.assert_array_equal(np.asarray(data.get_patterns()), made.counts)
    np.testing.assert_array_equal(np.asarray(data.get_bad_pixels()), ~mask)
    product = ptychodus.load_product(tmp_path / "run_product.h5")
    geometry, side = product.object_.get_geometry(), product.probes.get_geometry()
    bounds = [
        side.resolve_patch_bounds(point.x_px, point.y_px)
        for point in map(geometry.map_coordinates_probe_to_object, product.probe_positions)
    ]
    corners = np.array([(b.y_slice.start + b.dy, b.x_slice.start + b.dx) for b in bounds])
    np.testing.assert_allclose(corners, made.positions_px - ORIGIN, atol=1e-6)
    assert product.metadata.photon_energy_eV == 8800
    with h5py.File(tmp_path / "run_diffraction.h5") as file:
        assert file["patterns"].attrs["detector_pixel_width_m"] == pytest.approx(DETECTOR_PIXEL_M)


def test_ptyd_opens_in_ptypy(tmp_path: Path, source: Path, made: MadeScan, mask: NDArray[np.bool_]) -> None:
    core = pytest.importorskip("ptypy.core.data", reason="the package ptypy is not installed")
    write(source, "ptyd", tmp_path / "c.ptyd")
    scan = core.PtydScan({"dfile": str(tmp_path / "c.ptyd"), "source": "file"})
    scan.initialize()
    packet = scan.auto(100)
    frames = packet["iterable"]
    assert packet["common"]["energy"] == pytest.approx(8.8)
    assert packet["common"]["distance"] == pytest.approx(1.92)
    np.testing.assert_allclose(packet["common"]["psize"], DETECTOR_PIXEL_M)
    np.testing.assert_array_equal([frame["data"] for frame in frames], made.counts)
    np.testing.assert_array_equal(frames[0]["mask"], mask)
    _require_corners(np.array([frame["position"] for frame in frames]) / 2.5e-8, made)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("s.h5 c.h5 --to nosuch", "convert.to = 'nosuch'; a scan is written as one of cxi, ptycho_dist, ptychodus"),
        ("s.h5 c.npz --to cxi", "expected a name that ends in .cxi or .h5"),
        ("bare.h5 c.cxi --to cxi", "needs the size of an object pixel and the energy and the distance"),
        ("bare.h5 c.npz --to tike_npz", "needs the probe"),
        ("s.h5 there.h5", "there.h5 exists; expected a new file to write. Choose another name, or give --overwrite"),
        ("s.h5 run_diffraction.h5 --to ptychodus", "run_product.h5 exists"),
    ],
)
def test_convert_refuses_what_cannot_be_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    source: Path,
    arguments: str,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_own(tmp_path / "bare.h5", make_scan(), probe=None, object_=None)
    for name in ("there.h5", "run_product.h5"):
        (tmp_path / name).write_bytes(b"kept")
    before = sorted(tmp_path.iterdir())
    assert main(["convert", *arguments.split(), "--quiet"]) == 2
    assert words in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_convert_command_writes_over_a_file_that_may_be_replaced(tmp_path: Path, source: Path) -> None:
    (tmp_path / "c.npz").write_bytes(b"old")
    command = ["convert", str(source), str(tmp_path / "c.npz"), "--to", "tike_npz", "--quiet"]
    assert main(command) == 2
    assert main([*command, "--overwrite"]) == 0
    with open_scan(tmp_path / "c.npz") as scan:
        assert len(scan) == 12


def test_convert_scan_tells_what_is_lost(tmp_path: Path, source: Path) -> None:
    written = ptd.convert_scan(source, tmp_path / "c.ptyd", to="ptyd")
    assert written.paths == (tmp_path / "c.ptyd",)
    assert written.lost[:2] == ("the probe", "the object")
    with pytest.raises(ptd.ConfigError, match="give --overwrite"), ptd.open_scan(source) as scan:
        ptd.convert_scan(scan, tmp_path / "c.ptyd", to="ptyd")
    assert ptd.convert_scan(source, tmp_path / "c.ptyd", to="ptyd", overwrite=True).paths == written.paths


def test_one_of_several_ranks_writes_what_other_programs_read(tmp_path: Path, source: Path, made: MadeScan) -> None:
    with open_scan(source) as scan:
        told = on_ranks(2, lambda ranks: convert_to("cxi", scan, tmp_path / "c.cxi", ranks))
    assert [one.paths for one in told] == [(tmp_path / "c.cxi",)] * 2
    with open_scan(tmp_path / "c.cxi") as scan:
        np.testing.assert_array_equal(scan.counts(), made.counts)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:cdtools")
def test_cxi_that_cdtools_writes_opens(tmp_path: Path, made: MadeScan, mask: NDArray[np.bool_]) -> None:
    datasets = pytest.importorskip("cdtools.datasets", reason="the package cdtools-py is not installed")
    yx = made.positions_px * UNITS["pixel_size_m"]
    written = datasets.Ptycho2DDataset(
        np.stack([-yx[:, 1], -yx[:, 0], np.zeros(12)], axis=1),
        made.counts,
        wavelength=1.239841984e-6 / UNITS["energy_eV"],
        detector_geometry={
            "distance": UNITS["detector_distance_m"],
            "basis": np.array([[0, -DETECTOR_PIXEL_M], [-DETECTOR_PIXEL_M, 0], [0, 0]]),
            "corner": None,
        },
        mask=mask,
    )
    written.to_cxi(tmp_path / "c.cxi")
    _require_ours(tmp_path / "c.cxi", made, mask)


def test_ptyd_that_ptypy_writes_opens(tmp_path: Path, made: MadeScan, mask: NDArray[np.bool_]) -> None:
    core = pytest.importorskip("ptypy.core.data", reason="the package ptypy is not installed")

    class Made(core.PtyScan):
        """The made scan, as ptypy takes one in."""

        def load_positions(self) -> NDArray[np.float64]:
            return made.positions_px * UNITS["pixel_size_m"]

        def load(self, indices: list[int]) -> tuple[dict[int, Any], dict[int, Any], dict[int, Any]]:
            return {n: made.counts[n] for n in indices}, {}, {n: mask for n in indices}

    pars = Made.DEFAULT.copy(99)
    pars.update(
        energy=UNITS["energy_eV"] / 1e3, distance=UNITS["detector_distance_m"], psize=DETECTOR_PIXEL_M, shape=16
    )
    pars.update(center=(8, 8), save="append", dfile=str(tmp_path / "c.ptyd"), auto_center=False, num_frames=12)
    scan = Made(pars)
    scan.initialize()
    while scan.auto(5) is not core.EOS:
        pass
    _require_ours(tmp_path / "c.ptyd", made, mask)


def _require_ours(path: Path, made: MadeScan, mask: NDArray[np.bool_]) -> None:
    with open_scan(path) as scan:
        np.testing.assert_array_equal(scan.counts(), made.counts)
        np.testing.assert_array_equal(scan.mask, mask)
        _require_corners(scan.positions_px, made)
        assert scan.header.pixel_size_m == pytest.approx(UNITS["pixel_size_m"], rel=1e-5)
