"""Odd files in the place of those that are meant: one line that says what was found, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptycho_dist.cli import main

MAP = "patterns: {path: d}\npositions: {y: {path: y, unit: m}, x: {path: x, unit: m}}\npixel_size: 5.0e-8\n"


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a scan in a folder with an odd name, which is the working folder."""
    folder = tmp_path / "\u00fcml\u00e4ut & leer"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = folder / "s \u00df.h5"
    with h5py.File(path, "w") as file:
        file["d"] = np.random.default_rng(0).poisson(20, (9, 32, 32)).astype(np.uint16)
        file["y"], file["x"] = np.arange(9) * 2e-7, np.arange(9) % 3 * 2e-7
    (folder / "m.yaml").write_bytes(b"\xef\xbb\xbf" + MAP.replace("\n", "\r\n").encode())
    return path


def test_names_with_blanks_and_umlauts_do(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", scan.name, "--map", "m.yaml", "--figure", "b \u00f6.png"]) == 0
    assert main(["convert", scan.name, "\u00f6 o.h5", "--map", "m.yaml"]) == 0
    capsys.readouterr()
    assert main(["inspect", "\u00f6 o.h5"]) == 0
    assert "format ptycho_dist_h5" in capsys.readouterr().out


def _folder(path: Path) -> object:
    path.mkdir()
    return (path / "notes.txt").write_text("x")


ODD: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "empty scan": (lambda path: path.write_bytes(b""), "inspect odd.h5", "odd.h5 is empty; expected a scan file. Copy"),
    "no scan": (lambda path: None, "inspect odd.h5", "odd.h5 is missing; expected a scan file"),
    "folder": (_folder, "inspect odd.h5", "odd.h5 is a folder with notes.txt, and no bundle, set of scans"),
    "tab in a map": (lambda path: path.write_text("patterns:\n\tpath: d\n"), "inspect SCAN --map odd.h5",
                     "odd.h5, line 2: a tab, where YAML takes blanks only; expected YAML"),
    "map in UTF-16": (lambda path: path.write_text(MAP, encoding="utf-16"), "inspect SCAN --map odd.h5",
                      "odd.h5 is no text in UTF-8; expected YAML"),
    "empty probe": (lambda path: path.write_bytes(b""), "orient SCAN --map m.yaml --probe odd.h5",
                    "data.probe = odd.h5 is empty; expected modes"),
    "probe of words": (lambda path: path.write_text("hello"), "orient SCAN --map m.yaml --probe odd.h5",
                       "data.probe = odd.h5 is neither NPY, NPZ nor HDF5; expected modes"),
    "energy of a probe": (lambda path: None, "orient SCAN --map m.yaml --probe gaussian:fwhm_m=1e-7",
                          "needs energy_eV, which the scan does not say. Give --energy_eV."),
    "map that is there": (lambda path: None, "orient SCAN --map m.yaml --write_map m.yaml",
                          "m.yaml exists; expected a new file to write. Choose another name, or give --overwrite."),
    "what a format needs": (lambda path: None, "convert SCAN o.cxi --map m.yaml --to cxi",
                            "Give --energy_eV; give --detector_distance_m."),
    "empty dark": (lambda path: path.write_bytes(b""), "inspect SCAN --map m.yaml --dark odd.h5",
                   "dark odd.h5 is empty; expected NPY, NPZ, HDF5"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_told_in_one_line(name: str, scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, command, words = ODD[name]
    make(scan.with_name("odd.h5"))
    status = main([scan.name if word == "SCAN" else word for word in command.split()])
    told = capsys.readouterr()
    if status == 0:  # inspect goes on with what is in the file
        assert words in told.out
        return
    assert status == 2
    (line,) = told.err.strip().splitlines()
    assert words in line
