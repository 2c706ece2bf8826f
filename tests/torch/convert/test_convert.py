"""A converted scan says the same as its source, in the project's own layout."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from ptycho_dist.cli import main
from ptycho_dist.convert.run import convert
from ptycho_dist.data.scan import ScanOptions, open_scan
from tests.support.scans import make_scan, write_own, write_ptychopinn, write_tike
from tests.support.threads import on_ranks


@pytest.mark.parametrize("write", [write_tike, write_ptychopinn])
@pytest.mark.parametrize("world", [1, 2])
def test_converted_scan_says_what_its_source_says(tmp_path: Path, write: type, world: int) -> None:
    source = write(tmp_path / "s.npz", make_scan())
    rows = np.arange(12)
    with open_scan(source, ScanOptions(pixel_size_m=2e-8)) as scan:
        on_ranks(world, lambda ranks: convert(scan, tmp_path / "out" / "c.h5", ranks))
        found = open_scan(tmp_path / "out" / "c.h5")
        np.testing.assert_array_equal(found.read_patterns(rows), scan.read_patterns(rows))
        np.testing.assert_array_equal(found.positions_px, scan.positions_px)
        np.testing.assert_array_equal(found.probe, scan.probe)
        assert found.header.pixel_size_m == 2e-8
        assert found.header.format_name == "ptycho_dist_h5"
        assert found.header.mean_counts == pytest.approx(scan.header.mean_counts, rel=1e-6)
        if scan.object_ is not None:
            np.testing.assert_array_equal(found.object_, scan.object_)
            np.testing.assert_array_equal(found.object_origin_px, scan.object_origin_px)


def test_convert_command_takes_two_operands_and_keeps_the_conversions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_tike(tmp_path / "s.npz", make_scan())
    assert main(["convert", str(source), str(tmp_path / "c.h5"), "--quiet"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'c.h5'}\n"
    with h5py.File(tmp_path / "c.h5") as file:
        assert "tike_npz" in file.attrs["metadata_json"]
        assert file["patterns"].dtype.kind == "u"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("s.h5 s.h5", "is the scan itself"),
        ("s.h5", "no output_file"),
        ("s.h5 c.npz", "expected a name that ends in .h5"),
        ("nosuch.npz c.h5", "is not a file; expected a scan"),
        ("s.h5 c.h5 d.h5", "expected one scan and one output_file"),
        ("s.h5 c.h5 --devices 3000", "expected at most"),
        ("s.h5 c.h5 --energy_eV 9000", "says energy_eV"),
    ],
)
def test_convert_command_refuses_what_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_own(Path("s.h5"), make_scan(), energy_eV=8000.0)
    assert main(["convert", *arguments.split(), "--quiet"]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [tmp_path / "s.h5"]


def test_convert_command_obeys_the_data_section_of_a_config_file(tmp_path: Path) -> None:
    source = write_tike(tmp_path / "s.npz", make_scan())
    config = tmp_path / "c.yaml"
    config.write_text("data: {pixel_size_m: 3.0e-8}\nranks: {devices: 1}\nplan: {json: true}\n")
    assert main(["convert", str(source), str(tmp_path / "c.h5"), "--config", str(config), "--quiet"]) == 0
    with open_scan(tmp_path / "c.h5") as scan:
        assert scan.header.pixel_size_m == 3e-8
