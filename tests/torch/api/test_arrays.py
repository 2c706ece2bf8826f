"""Arrays where a scan is expected, results opened again, and results with named axes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptycho_dist as ptd
from ptycho_dist.errors import ConfigError, DataFormatError

QUICK: dict[str, Any] = {"devices": 1, "accelerator": "cpu", "iterations": 2}


@pytest.fixture
def arrays(tiny_path: Path) -> dict[str, Any]:
    """Patterns, positions and probe of the tiny scan."""
    with ptd.open_scan(tiny_path) as scan:
        return {"patterns": scan.counts(), "positions_px": scan.positions_px, "probe": scan.probe}


def test_arrays_give_the_bits_of_a_scan_that_was_written_from_them(arrays: dict[str, Any], tmp_path: Path) -> None:
    units = {"pixel_size_m": 2e-8, "energy_eV": 8e3}
    ptd.write_scan(tmp_path / "own.h5", **arrays, **units).close()
    written = ptd.refine_object(tmp_path / "own.h5", output_dir=tmp_path / "file", **QUICK)
    given = ptd.refine_object(**arrays, **units, output_dir=tmp_path / "arrays", **QUICK)
    assert given.object_.tobytes() == written.object_.tobytes()
    assert given.pixel_size_m == 2e-8
    assert given.scan_path == tmp_path / "arrays" / "scan.h5"
    assert given.scan_path.read_bytes() == (tmp_path / "own.h5").read_bytes()


def test_same_arrays_are_reused_and_others_refused(arrays: dict[str, Any], tmp_path: Path) -> None:
    first = ptd.refine_object(**arrays, output_dir=tmp_path, **QUICK)
    made = (tmp_path / "scan.h5").stat().st_mtime_ns, first.path.stat().st_mtime_ns
    again = ptd.refine_object(**arrays, output_dir=tmp_path, **QUICK)
    assert ((tmp_path / "scan.h5").stat().st_mtime_ns, first.path.stat().st_mtime_ns) == made
    assert again.object_.tobytes() == first.object_.tobytes()
    other = arrays | {"patterns": arrays["patterns"] + 1}
    with pytest.raises(ConfigError, match=r"scan\.h5 exists and holds another scan .* give overwrite=True"):
        ptd.refine_object(**other, output_dir=tmp_path, **QUICK)
    assert (tmp_path / "scan.h5").stat().st_mtime_ns == made[0]
    changed = ptd.refine_object(**other, output_dir=tmp_path, overwrite=True, **QUICK)
    assert changed.object_.tobytes() != first.object_.tobytes()
    assert not list(tmp_path.glob("*.tmp")) + list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("call", ["reconstruct", "train", "infer", "refine_object"])
@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"patterns": np.ones((4, 16, 16))}, ConfigError, r"none for positions_px; expected patterns \(B, N, N\)"),
        ({"probe": np.ones((16, 16), complex), "scan": "s.h5"}, ConfigError, r"none for patterns and positions_px"),
        ({"patterns": np.ones((4, 16, 8)), "positions_px": np.zeros((4, 2))}, DataFormatError, r"expected square"),
        ({"patterns": np.ones((4, 16, 16)), "positions_px": np.zeros((3, 2))}, DataFormatError, r"3 positions for 4"),
        (
            {"patterns": np.ones((4, 16, 16)), "positions_px": np.zeros((4, 2)), "probe": np.ones((8, 8), complex)},
            DataFormatError,
            r"probe for .* has shape \(1, 8, 8\); expected 16 by 16",
        ),
        (
            {"patterns": np.ones((4, 16, 16)), "positions_px": np.zeros((4, 2)), "scan": "s.h5"},
            ConfigError,
            r"a scan and arrays \(patterns, positions_px\) were given; expected one",
        ),
    ],
)
def test_arrays_that_are_no_scan_are_refused(
    call: str, given: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        getattr(ptd, call)(**given, output_dir=tmp_path / "out")
    assert not list(tmp_path.rglob("*.h5"))


def test_open_result_gives_what_the_call_returned(tiny_path: Path, tmp_path: Path) -> None:
    made = ptd.reconstruct(tiny_path, output_dir=tmp_path / "run", width=8, max_epochs=2, **QUICK)
    for place in (tmp_path / "run", str(made.path), tmp_path / "run" / "reconstruction.h5"):
        opened = ptd.open_result(place)
        assert isinstance(opened, ptd.Reconstruction)
        assert opened.object_.tobytes() == made.object_.tobytes()
        assert opened.metrics == made.metrics
        assert opened.scan_path == tiny_path
        assert opened.report == made.report == tmp_path / "run" / "report.html"
    assert list(made.history) == ["training", "refinement"]
    assert made.history["refinement"]["iteration"].tolist() == [1, 2]
    assert made.history["refinement"]["fourier_error"][-1] == made.losses[-1]
    assert np.isfinite(made.history["training"]["train_loss"]).sum() == 2
    training = ptd.open_result(tmp_path / "run" / "bundle")
    assert isinstance(training, ptd.Training)
    assert (len(training.losses), training.settings["model"]["width"]) == (2, 8)
    assert "<svg" in training._repr_html_()
    network = ptd.open_result(tmp_path / "run" / "network.h5")
    assert network.object_.tobytes() != made.object_.tobytes()  # type: ignore[union-attr]


def test_open_result_needs_no_scan(tiny_path: Path, tmp_path: Path) -> None:
    scan = shutil.copy(tiny_path, tmp_path / "scan.h5")
    ptd.refine_object(scan, output_dir=tmp_path / "run", **QUICK)
    scan.unlink()
    opened = ptd.open_result(tmp_path / "run")
    assert isinstance(opened, ptd.Reconstruction)
    assert len(opened.figure().subfigs) > 0
    assert "data:image/png;base64," in opened._repr_html_()


def test_open_result_says_what_it_found(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="is missing; expected the output folder"):
        ptd.open_result(tmp_path / "nosuch")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataFormatError, match=r"is a folder with notes\.txt; expected the output folder"):
        ptd.open_result(tmp_path)


def test_to_xarray_has_lengths_in_metres(arrays: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("xarray")
    made = ptd.refine_object(**arrays, pixel_size_m=2e-8, output_dir=tmp_path, **QUICK)
    held = made.to_xarray()
    assert held["object"].dims == ("y", "x")
    assert held["object"].values.tobytes() == made.object_.tobytes()
    assert held["y"].attrs["units"] == "m"
    np.testing.assert_allclose(held["x"].values[0], made.object_origin_px[1] * 2e-8)
    np.testing.assert_allclose(np.diff(held["y"].values), 2e-8)
    assert held["probe"].shape == made.probe.shape
    np.testing.assert_allclose(held["position"].values, made.positions_px * 2e-8)


def test_html_is_small_and_escapes_what_it_shows(tiny_path: Path, tmp_path: Path) -> None:
    scan_path = shutil.copy(tiny_path, tmp_path / "<b>&.h5")
    with ptd.open_scan(scan_path) as scan:
        page = scan._repr_html_()
    made = ptd.refine_object(scan_path, output_dir=tmp_path / "<i>", **QUICK)
    payload = ptd.create_refine_payload(scan_path, tmp_path / "payload", overrides={"refine.iterations": 3})
    for shown in (page, made._repr_html_(), payload._repr_html_()):
        assert "<b>&." not in shown
        assert "<i>" not in shown
        assert len(shown) < 400_000
        assert not re.search(r'style="[^"]*(?<!-)\b(color: (?!inherit)|background)', shown)
    assert "&lt;b&gt;&amp;.h5" in page
    assert page.count("<img ") == 3
    assert page.count("<circle ") == 25
    assert "refine.iterations" in payload._repr_html_()
