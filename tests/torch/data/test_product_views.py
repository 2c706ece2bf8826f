"""NeXus groups of a product by the rules of NeXus, in silx where that is installed, and its plain attributes."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptycho_dist.data.formats.product_h5 import FIRST_POSITIONS, ProductGeometry, ProductWriter, read_product
from ptycho_dist.data.formats.product_notes import note_evaluation
from ptycho_dist.data.formats.product_views import SIDE_PX
from ptycho_dist.types import ProductMetadata
from tests.support.results import write_product

PIXEL_M = 2e-8


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Write a product of 48 x 64 pixels and two modes."""
    rng = np.random.default_rng(0)
    object_ = (rng.normal(size=(48, 64)) + 1j * rng.normal(size=(48, 64))).astype(np.complex64)
    probe = (rng.normal(size=(2, 16, 16)) + 1j).astype(np.complex64)
    return write_product(tmp_path / "p.h5", object_, probe, 12, PIXEL_M)


def require_nexus(file: h5py.File) -> None:
    """Hold a file against the rules of NeXus for a default plot."""
    assert file.attrs["NX_class"] == "NXroot"
    entry = file[file.attrs["default"]]
    assert entry.attrs["NX_class"] == "NXentry"
    assert entry.attrs["default"] in entry
    for group in (one for one in entry.values() if isinstance(one, h5py.Group)):
        assert group.attrs["NX_class"] == "NXdata"
        signals = [group.attrs["signal"], *group.attrs["auxiliary_signals"]]
        for name in signals:
            signal = group[name]
            assert signal.dtype.kind == "f"
            assert signal.attrs["interpretation"] == "image"
            lengths = [len(group[axis]) for axis in group.attrs["axes"]]
            assert lengths == list(signal.shape)
        assert all(group[axis].attrs["units"] for axis in ("y", "x"))


def test_views_follow_the_rules_and_hold_the_values(written: Path) -> None:
    product = read_product(written)
    with h5py.File(written) as file:
        require_nexus(file)
        shown = file["entry/object"]
        np.testing.assert_array_equal(shown["amplitude"], np.abs(product.object_))
        np.testing.assert_array_equal(shown["phase"], np.angle(product.object_))
        np.testing.assert_array_equal(file["entry/probe/amplitude"], np.abs(product.probe))
        assert shown["x"].attrs["units"] == "m"
        origin = np.array(product.geometry.object_origin_px)
        np.testing.assert_allclose([shown["y"][0], shown["x"][0]], origin * PIXEL_M, atol=1e-15)
        np.testing.assert_allclose(np.diff(shown["x"]), PIXEL_M)
        assert shown.attrs["preview_step_px"] == 1


def test_silx_finds_the_default_plot(written: Path) -> None:
    nxdata = pytest.importorskip("silx.io.nxdata", reason="silx is not installed")
    with h5py.File(written) as file:
        plot = nxdata.get_default(file)
        assert plot.is_valid
        assert (plot.interpretation, plot.signal_ndim) == ("image", 2)
        assert plot.signal.name == "/entry/object/phase"
        assert [axis.name for axis in plot.axes] == ["/entry/object/y", "/entry/object/x"]
        assert [one.name for one in plot.auxiliary_signals] == ["/entry/object/amplitude"]
        assert nxdata.NXdata(file["entry/probe"]).is_valid


def test_large_object_is_shown_by_a_preview(tmp_path: Path) -> None:
    rows = SIDE_PX + 100
    object_ = np.exp(1j * np.linspace(0, 3, rows * 40)).reshape(rows, 40).astype(np.complex64)
    path = write_product(tmp_path / "p.h5", object_, np.ones((1, 8, 8), np.complex64), 4, math.nan)
    with h5py.File(path) as file:
        require_nexus(file)
        shown = file["entry/object"]
        assert shown["phase"].shape == (rows // 2, 20)
        np.testing.assert_array_equal(shown["phase"], np.angle(object_[::2, ::2]))
        assert shown.attrs["preview_step_px"] == 2
        assert "preview: every second row and column" in shown["title"].asstr()[()]
        assert shown["y"].attrs["units"] == "object pixel"
        np.testing.assert_allclose(np.diff(shown["y"]), 2.0)
        assert file.attrs["length_unit"] == "object pixel"


def test_tiles_are_shown_when_they_are_published(tmp_path: Path) -> None:
    object_ = np.full((20, 30), 2j, np.complex64)
    with ProductWriter(tmp_path / "p.h5", ProductMetadata("x"), (20, 30), ProductGeometry(N=4)) as writer:
        writer.write_probe(np.ones((1, 4, 4), np.complex64))
        writer.write_positions(np.zeros((1, 2)))
        product = writer.leave_tiles_open({})
    with product.tiles() as tiles:
        tiles.write("object", (0, 0), object_)
    product.publish()
    with h5py.File(tmp_path / "p.h5") as file:
        require_nexus(file)
        assert (file["entry/object/amplitude"][:] == 2).all()
        assert (file["object"][0] == object_).all()


def test_product_says_when_by_what_and_how_well(written: Path) -> None:
    metrics: dict[str, Any] = {"fourier_error": 0.125, "verdict": "is fine", "ranks": 2, "psnr_db": None, "odd": [1]}
    before = read_product(written).object_.tobytes()
    note_evaluation(written, metrics, np.ones(12), ["refine", "a scan.h5", "--iterations", "3"])
    note_evaluation(written, {"verdict": "is better", "normalised_error": 1.5}, None)
    with h5py.File(written) as file:
        told = dict(file.attrs)
    assert datetime.fromisoformat(told["date"]).tzinfo is not None
    assert told["version"].startswith("ptycho_dist ")
    assert told["command"] == "ptycho-dist refine 'a scan.h5' --iterations 3"
    assert {name: told[name] for name in told if name.startswith("metric_")} == {"metric_normalised_error": 1.5}
    product = read_product(written)
    assert (product.verdict, product.object_.tobytes()) == ("is better", before)
    assert product.extras["normalised_error"].shape == (12,)


def test_refined_positions_are_kept_beside_the_first(tiny_path: Path, tmp_path: Path) -> None:
    import ptycho_dist as ptd

    settings: dict[str, Any] = {"iterations": 6, "devices": 1, "accelerator": "cpu"}
    kept = ptd.refine_object(tiny_path, output_dir=tmp_path / "kept", **settings)
    moved = ptd.refine_object(tiny_path, output_dir=tmp_path / "moved", position_start=2, **settings)
    with ptd.open_scan(tiny_path) as scan:
        first = scan.positions_px
    assert FIRST_POSITIONS not in kept.maps
    np.testing.assert_array_equal(moved.maps[FIRST_POSITIONS], first)
    assert np.abs(moved.positions_px - first).max() > 1e-3
    with h5py.File(moved.path) as file:
        require_nexus(file)
        assert file.attrs["metric_fourier_error"] == moved.metrics["fourier_error"]
        assert file.attrs["ptycho_dist_verdict"] == moved.metrics["verdict"]
        assert str(file.attrs["command"]).startswith("ptycho-dist refine ")
