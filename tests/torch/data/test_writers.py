"""Writers: scans in the smallest type, products that other programs read, nothing half written."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptycho_dist.data.formats.product_h5 import ProductGeometry, ProductWriter, read_product
from ptycho_dist.data.scan import open_scan
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import ProductMetadata
from tests.support.product_reader import read_by_specification
from tests.support.scans import MadeScan, make_scan, write_own


@pytest.mark.parametrize(("peak", "dtype"), [(200, np.uint8), (60_000, np.uint16), (3e9, np.uint32), (0.5, np.float32)])
def test_scan_writer_takes_the_smallest_type_when_a_later_chunk_needs_more(
    tmp_path: Path, peak: float, dtype: type
) -> None:
    counts = np.ones((12, 16, 16))
    counts[9, 3, 4] = peak
    path = write_own(tmp_path / "s.h5", make_scan(), patterns=iter([counts[:5], counts[5:10], counts[10:]]))
    with h5py.File(path) as file:
        assert file["patterns"].dtype == dtype
        assert file["patterns"].chunks == (12, 16, 16)
        assert file["positions_px"].attrs["units"] == "px"
    scan = open_scan(path)
    np.testing.assert_array_equal(scan.read_patterns(np.arange(12)), counts.astype(np.float32))
    assert scan.header.mean_counts == pytest.approx(counts.sum((1, 2)).mean())


def test_scan_writer_leaves_the_old_file_when_it_fails(tmp_path: Path) -> None:
    path = write_own(tmp_path / "s.h5", make_scan())
    before = path.read_bytes()
    with pytest.raises(DataFormatError, match="5 patterns for 12 positions"):
        write_own(path, make_scan(), patterns=[make_scan().counts[:5]])
    with pytest.raises(DataFormatError, match=r"pattern 3 .* -1"):
        write_own(path, make_scan(), patterns=[np.where(np.arange(12)[:, None, None] == 3, -1, make_scan().counts)])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


PIXEL_M = 5e-9
ORIGIN = (-11.25, 3.5)


def _write_product(path: Path, made: MadeScan, pixel_size_m: float = PIXEL_M) -> None:
    metadata = ProductMetadata(name="run", comments="c", probe_energy_eV=8e3, provenance={"seed": 3})
    geometry = ProductGeometry(N=16, pixel_size_m=pixel_size_m, object_origin_px=ORIGIN)
    with ProductWriter(path, metadata, (40, 40), geometry) as writer:
        for row in (0, 30):
            writer.write_object_tile((row, 0), made.object_[row : row + 30])
        writer.write_probe(made.probe)
        writer.write_positions(made.positions_px + ORIGIN)
        writer.write_losses([3.0, 2.0], [0, 5])
        writer.write_extra("weights", np.arange(4.0))


def test_product_reads_back(tmp_path: Path) -> None:
    made = make_scan(n_modes=2)
    _write_product(tmp_path / "p.h5", made)
    product = read_product(tmp_path / "p.h5")
    np.testing.assert_array_equal(product.object_, made.object_)
    np.testing.assert_array_equal(product.probe, made.probe)
    np.testing.assert_allclose(product.positions_px - product.geometry.object_origin_px, made.positions_px, atol=1e-9)
    np.testing.assert_array_equal(product.losses, [3.0, 2.0])
    np.testing.assert_array_equal(product.loss_epochs, [0, 5])
    np.testing.assert_array_equal(product.extras["weights"], np.arange(4.0))
    assert product.metadata.provenance == {"seed": 3}
    assert product.metadata.probe_energy_eV == 8e3
    assert product.geometry.pixel_size_m == PIXEL_M


def test_product_follows_the_specification(tmp_path: Path) -> None:
    made = make_scan(n_modes=2)
    _write_product(tmp_path / "p.h5", made)
    product = read_by_specification(tmp_path / "p.h5")
    assert product.probe.shape == (1, 2, 16, 16)
    assert product.object_.shape == (1, 40, 40)
    np.testing.assert_allclose(product.patch_corners_px(), made.positions_px, atol=1e-6)
    assert product.attributes["units_known"]


def test_product_opens_in_ptychodus(tmp_path: Path) -> None:
    ptychodus = pytest.importorskip("ptychodus.api.io", reason="the package ptychodus is not installed")
    made = make_scan(n_modes=2)
    _write_product(tmp_path / "p.h5", made)
    product = ptychodus.load_product(tmp_path / "p.h5")
    geometry = product.object_.get_geometry()
    side = product.probes.get_geometry()
    bounds = [
        side.resolve_patch_bounds(point.x_px, point.y_px)
        for point in map(geometry.map_coordinates_probe_to_object, product.probe_positions)
    ]
    corners = [(b.y_slice.start + b.dy, b.x_slice.start + b.dx) for b in bounds]
    np.testing.assert_allclose(corners, made.positions_px, atol=1e-6)
    np.testing.assert_array_equal(product.object_.get_layer(0), made.object_)
    assert product.metadata.photon_energy_eV == 8e3
    assert [loss.value for loss in product.losses] == [3.0, 2.0]


def test_product_says_when_units_are_unknown(tmp_path: Path) -> None:
    made = make_scan()
    _write_product(tmp_path / "p.h5", made, pixel_size_m=math.nan)
    raw = read_by_specification(tmp_path / "p.h5")
    assert not raw.attributes["units_known"]
    assert "Pixel size unknown" in raw.attributes["comments"]
    assert math.isnan(raw.attributes["detector_object_distance_m"])
    product = read_product(tmp_path / "p.h5")
    assert not product.geometry.units_known
    np.testing.assert_allclose(product.positions_px, made.positions_px + ORIGIN, atol=1e-9)


def test_product_writer_leaves_the_old_file_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "p.h5"
    path.write_bytes(b"old")
    writer = ProductWriter(path, ProductMetadata(name="x"), (40, 40), ProductGeometry(N=16))
    with pytest.raises(DataFormatError, match=r"expected \(P, 16, 16\)"), writer:
        writer.write_probe(make_scan(N=24).probe)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_product_writer_refuses_an_incomplete_product(tmp_path: Path) -> None:
    writer = ProductWriter(tmp_path / "p.h5", ProductMetadata(name="x"), (40, 40), ProductGeometry(N=16))
    with pytest.raises(DataFormatError, match="probe_position_x_m, object missing"), writer:
        writer.write_probe(make_scan().probe)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("corner", [(-1, 0), (0, 11), (11, 0)])
def test_product_writer_refuses_a_tile_outside(tmp_path: Path, corner: tuple[int, int]) -> None:
    writer = ProductWriter(tmp_path / "p.h5", ProductMetadata(name="x"), (40, 40), ProductGeometry(N=16))
    with pytest.raises(DataFormatError, match="leaves the object"), writer:
        writer.write_object_tile(corner, np.zeros((30, 30), np.complex64))
