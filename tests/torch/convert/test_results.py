"""Reconstructions in the formats of other programs, and theirs read here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from ptycho_dist.cli import main
from ptycho_dist.data.formats.product_h5 import Product, ProductGeometry, ProductWriter, read_product
from ptycho_dist.data.formats.results.reading import read_result
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import ProductMetadata
from tests.support.scans import make_scan

PIXEL_M = 5e-9
ORIGIN = (-11.25, 3.5)


def write_product(path: Path, pixel_size_m: float = PIXEL_M) -> Product:
    """Write a product of this program, and read it."""
    made = make_scan(n_modes=2)
    metadata = ProductMetadata(
        name="run", probe_energy_eV=8e3, detector_object_distance_m=2.0, exposure_time_s=0.1, provenance={"seed": 3}
    )
    geometry = ProductGeometry(N=16, pixel_size_m=pixel_size_m, object_origin_px=ORIGIN)
    with ProductWriter(path, metadata, (40, 40), geometry) as writer:
        writer.write_object_tile((0, 0), made.object_)
        writer.write_probe(made.probe)
        writer.write_positions(made.positions_px + ORIGIN)
        writer.write_losses([3.0, 2.0], [0, 5])
        writer.write_extra("coverage", np.ones((40, 40), np.int32))
    return read_product(path)


def _require_same(found: Product, expected: Product) -> None:
    np.testing.assert_array_equal(found.object_, expected.object_)
    np.testing.assert_array_equal(found.probe, expected.probe)
    np.testing.assert_allclose(
        found.positions_px - found.geometry.object_origin_px,
        expected.positions_px - expected.geometry.object_origin_px,
        atol=1e-6,
    )
    assert found.geometry.pixel_size_m == pytest.approx(expected.geometry.pixel_size_m)
    assert found.metadata.probe_energy_eV == pytest.approx(expected.metadata.probe_energy_eV)


@pytest.mark.parametrize(("name", "file"), [("ptyr", "r.ptyr"), ("cxi", "r.cxi"), ("ptychodus", "q.h5")])
def test_result_reads_back(tmp_path: Path, name: str, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    expected = write_product(tmp_path / "p.h5")
    assert main(["convert", str(tmp_path / "p.h5"), str(tmp_path / file), "--to", name]) == 0
    told = capsys.readouterr()
    assert told.out == f"{tmp_path / file}\n"
    assert ("cannot hold our own maps" in told.err) == (name != "ptychodus")
    _require_same(read_result(tmp_path / file), expected)


def test_arrays_hold_the_result(tmp_path: Path) -> None:
    expected = write_product(tmp_path / "p.h5", float("nan"))
    for name, file in (("npz", "r.npz"), ("tiff", "r.tif")):
        assert main(["convert", str(tmp_path / "p.h5"), str(tmp_path / file), "--to", name, "--quiet"]) == 0
    with np.load(tmp_path / "r.npz") as arrays:
        np.testing.assert_array_equal(arrays["object"], expected.object_)
        np.testing.assert_allclose(arrays["positions_px"], make_scan().positions_px, atol=1e-9)
        np.testing.assert_array_equal(arrays["losses"], [3.0, 2.0])
        assert arrays["coverage"].shape == (40, 40)
    phase, amplitude = (tifffile.imread(tmp_path / f"r_object_{part}.tif") for part in ("phase", "amplitude"))
    np.testing.assert_allclose(amplitude * np.exp(1j * phase), expected.object_, rtol=1e-5)
    assert tifffile.imread(tmp_path / "r_probe_amplitude.tif").shape == (2, 16, 16)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("p.h5 r.h5", "a reconstruction is written as one of cxi, npz, ptychodus, ptyr, tiff"),
        ("p.h5 r.h5 --to ptyr", "expected a name that ends in .ptyr"),
        ("bare.h5 r.ptyr --to ptyr", "does not say the size of an object pixel"),
        ("p.h5 r.tif --to tiff", "r_probe_phase.tif exists"),
        ("p.h5 p.h5 --to ptychodus --overwrite", "is the reconstruction itself"),
    ],
)
def test_convert_refuses_a_result_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_product(tmp_path / "p.h5")
    write_product(tmp_path / "bare.h5", float("nan"))
    (tmp_path / "r_probe_phase.tif").write_bytes(b"kept")
    assert main(["convert", *arguments.split(), "--quiet"]) == 2
    assert words in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 3


def _no_positions(content: h5py.Group) -> None:
    del content["positions"]


def _two_probes(content: h5py.Group) -> None:
    content.copy("probe/Sscan00G00", "probe/Sother")


@pytest.mark.parametrize(
    ("spoil", "words"), [(_no_positions, "before 2019"), (_two_probes, "2 storages of probe"), (None, "sides")]
)
def test_ptyr_that_lacks_what_is_needed_is_refused(
    tmp_path: Path, spoil: Callable[[h5py.Group], None] | None, words: str
) -> None:
    write_product(tmp_path / "p.h5")
    assert main(["convert", str(tmp_path / "p.h5"), str(tmp_path / "r.ptyr"), "--to", "ptyr", "--quiet"]) == 0
    with h5py.File(tmp_path / "r.ptyr", "r+") as file:
        if spoil is None:
            file["content/obj/Sscan00G00/_psize"][...] = [1e-9, 2e-9]
        else:
            spoil(file["content"])
    with pytest.raises(DataFormatError, match=words):
        read_result(tmp_path / "r.ptyr")


def test_ptyr_opens_in_ptypy(tmp_path: Path) -> None:
    io = pytest.importorskip("ptypy.io", reason="the package ptypy is not installed")
    expected = write_product(tmp_path / "p.h5")
    assert main(["convert", str(tmp_path / "p.h5"), str(tmp_path / "r.ptyr"), "--to", "ptyr", "--quiet"]) == 0
    content = io.h5read(str(tmp_path / "r.ptyr"), "content")["content"]
    obj, probe = content["obj"]["Sscan00G00"], content["probe"]["Sscan00G00"]
    np.testing.assert_array_equal(obj["data"][0], expected.object_)
    np.testing.assert_array_equal(probe["data"], expected.probe)
    centres = content["positions"]["Sscan00G00"] / obj["_psize"] + obj["_center"]
    np.testing.assert_allclose(centres - probe["_center"], make_scan().positions_px, atol=1e-6)
    assert obj["_energy"] == pytest.approx(8.0)


def test_cxi_result_opens_in_ptychodus(tmp_path: Path) -> None:
    plugin = pytest.importorskip("ptychodus.plugins.cxi_file", reason="the package ptychodus is not installed")
    expected = write_product(tmp_path / "p.h5")
    assert main(["convert", str(tmp_path / "p.h5"), str(tmp_path / "r.cxi"), "--to", "cxi", "--quiet"]) == 0
    product = plugin.CXIProductFileIO().read(tmp_path / "r.cxi")
    np.testing.assert_array_equal(product.object_.get_layer(0), expected.object_)
    geometry, side = product.object_.get_geometry(), product.probes.get_geometry()
    bounds = [
        side.resolve_patch_bounds(point.x_px, point.y_px)
        for point in map(geometry.map_coordinates_probe_to_object, product.probe_positions)
    ]
    corners = [(b.y_slice.start + b.dy, b.x_slice.start + b.dx) for b in bounds]
    np.testing.assert_allclose(corners, make_scan().positions_px, atol=1e-6)


@pytest.mark.parametrize("file", ["p.cxi", "p.npz"])
def test_products_of_ptychodus_read_as_results(tmp_path: Path, file: str) -> None:
    io = pytest.importorskip("ptychodus.api.io", reason="the package ptychodus is not installed")
    cxi = pytest.importorskip("ptychodus.plugins.cxi_file")
    npz = pytest.importorskip("ptychodus.plugins.npz_product_file")
    expected = write_product(tmp_path / "p.h5")
    writer = cxi.CXIProductFileIO() if file == "p.cxi" else npz.NPZProductFileIO()
    writer.write(tmp_path / file, io.load_product(tmp_path / "p.h5"))
    _require_same(read_result(tmp_path / file), expected)
