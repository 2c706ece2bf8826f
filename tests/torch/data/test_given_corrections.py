"""Dark, flat and monitor that the user gives: as those of a map, in any file that holds arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.data.scan import open_scan
from ptycho_dist.errors import DataFormatError
from tests.support.runs import simulate_tiny

RNG = np.random.default_rng(3)
DARK = RNG.uniform(0.5, 2.0, (32, 40)).astype(np.float32)
FLAT = RNG.uniform(0.5, 1.5, (32, 40)).astype(np.float32)
MONITOR = np.linspace(1.0, 2.0, 6)
MAP = (
    "patterns: {path: d}\npositions: {y: {path: y}, x: {path: x}}\npixel_size: 5.0e-8\n"
    "transform: {flip_rows: true, crop_px: 24}\nbeam_center: {y: 16, x: 20}\n"
)
CORRECTED = "dark: {path: dark}\nflat: {path: flat}\nmonitor: {path: monitor}\n"


def scan_file(folder: Path) -> Path:
    path = folder / "scan.h5"
    with h5py.File(path, "w") as file:
        file["d"] = RNG.poisson(50, (6, 32, 40)).astype(np.uint16)
        file["y"], file["x"] = np.arange(6.0) * 1e-7, np.arange(6.0) * 1e-7
        file["dark"], file["flat"], file["monitor"] = DARK, FLAT, MONITOR
    (folder / "corrected.yaml").write_text(MAP + CORRECTED)
    (folder / "plain.yaml").write_text(MAP)
    return path


def written(folder: Path, kind: str, name: str, values: np.ndarray) -> str:
    path = folder / f"{name}.{kind}"
    if kind == "npy":
        np.save(path, values)
    elif kind == "npz":
        np.savez(path, **{name: values, "other": np.ones(3)})
    elif kind == "tiff":
        tifffile.imwrite(path, values)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file[f"entry/{name}"] = values
        return f"{path}:entry/{name}"
    else:
        lines = [f"frame,{name}", *(f"{number},{value!r}" for number, value in enumerate(values.tolist()))]
        path.write_text("\r\n".join(lines))
    return str(path)


def told(path: Path, **said: Any) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    with open_scan(path, ScanOptions(**said)) as scan:
        assert scan.mask is None or scan.mask.any()
        return scan.counts(), scan.positions_px, scan.header.conversions


@pytest.mark.parametrize("kind", ["npy", "npz", "tiff", "h5"])
def test_given_corrections_do_what_those_of_a_map_do(kind: str, tmp_path: Path) -> None:
    path = scan_file(tmp_path)
    expected, _, _ = told(path, map=str(tmp_path / "corrected.yaml"))
    arrays = {"dark": np.stack([DARK - 0.5, DARK + 0.5]), "flat": FLAT}
    files = {name: written(tmp_path, kind, name, values) for name, values in arrays.items()}
    files["monitor"] = written(tmp_path, "csv" if kind == "tiff" else kind, "monitor", MONITOR)
    found, _, words = told(path, map=str(tmp_path / "plain.yaml"), **files)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    text = " | ".join(words)
    assert ("dark: dark.h5:entry/dark" if kind == "h5" else f"dark: dark.{kind}") in text
    assert "mean of 2 frames" in text
    assert "monitor: monitor." in text
    assert "values from 1 to 2, mean 1.5" in text
    assert "patterns: divided by the flat" in text


def test_given_corrections_take_the_place_of_those_of_the_map(tmp_path: Path) -> None:
    path = scan_file(tmp_path)
    np.save(tmp_path / "none.npy", np.zeros_like(DARK))
    found, _, words = told(path, map=str(tmp_path / "corrected.yaml"), dark=str(tmp_path / "none.npy"))
    (tmp_path / "no_dark.yaml").write_text(MAP + CORRECTED.replace("dark: {path: dark}\n", ""))
    expected, _, _ = told(path, map=str(tmp_path / "no_dark.yaml"))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert any("in place of the file's" in one for one in words)


def test_a_scan_in_spatial_order_has_the_monitor_in_the_order_of_the_measurement(tmp_path: Path) -> None:
    path = simulate_tiny(tmp_path / "own.h5")
    plain, places, _ = told(path)
    monitor = 1.0 + np.arange(25.0)
    np.save(tmp_path / "m.npy", monitor)
    found, moved, _ = told(path, monitor=str(tmp_path / "m.npy"))
    np.testing.assert_array_equal(places, moved)
    np.testing.assert_allclose(found, plain * (13.0 / monitor)[:, None, None], rtol=1e-5)


def test_a_monitor_may_have_values_of_frames_that_are_left_out(tmp_path: Path) -> None:
    path = scan_file(tmp_path)
    (tmp_path / "some.yaml").write_text(MAP + 'frames: {drop: "1,4"}\n')
    kept = [0, 2, 3, 5]
    found = []
    for name, values in (("all", MONITOR), ("kept", MONITOR[kept])):
        np.save(tmp_path / f"{name}.npy", values)
        found.append(told(path, map=str(tmp_path / "some.yaml"), monitor=str(tmp_path / f"{name}.npy"))[0])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("dark", np.zeros((32, 32)), r"dark .* shape \(32, 32\); expected .* \(32, 40\), or several .* Check --dark"),
        ("flat", np.full((32, 40), np.nan), r"flat .* expected finite numbers"),
        ("flat", np.zeros(40), r"flat .* shape \(40,\)"),
        ("dark", np.full((32, 40), "a"), r"dark .* is <U1 of shape"),
        ("monitor", np.ones(5), r"monitor .* has 5 values from 1; expected 6 above 0"),
        ("monitor", np.zeros(6), r"monitor .* has 6 values from 0; expected 6 above 0"),
        ("monitor", np.zeros(0), r"monitor .* has 0 values"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, values: np.ndarray, words: str, tmp_path: Path) -> None:
    path = scan_file(tmp_path)
    np.save(tmp_path / "given.npy", values)
    said: dict[str, Any] = {name: str(tmp_path / "given.npy")}
    with pytest.raises(DataFormatError, match=words):
        told(path, map=str(tmp_path / "plain.yaml"), **said)


def test_a_column_has_to_be_named_where_there_are_several(tmp_path: Path) -> None:
    path = scan_file(tmp_path)
    file = tmp_path / "beam.csv"
    file.write_text("frame,i0,i1\n" + "\n".join(f"{n},{n + 1},{n + 2}" for n in range(6)))
    with pytest.raises(DataFormatError, match=r"monitor .* holds frame, i0, i1; expected one array"):
        told(path, map=str(tmp_path / "plain.yaml"), monitor=str(file))
    for column in ("i1", "2"):
        _, _, words = told(path, map=str(tmp_path / "plain.yaml"), monitor=f"{file}:{column}")
        assert any("values from 2 to 7" in one for one in words)


@pytest.mark.parametrize("name", ["dark", "flat", "monitor"])
def test_a_file_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    said: dict[str, Any] = {name: str(tmp_path / "none.npy")}
    with pytest.raises(DataFormatError, match=rf"{name} .*none.npy is missing; expected a file. Check --{name}"):
        told(scan_file(tmp_path), map=str(tmp_path / "plain.yaml"), **said)
