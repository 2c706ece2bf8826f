"""Sets of scans: an index that is checked, and few scans open at a time."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho_dist.cli import main
from ptycho_dist.data import scan_set
from ptycho_dist.data.formats.base import ScanOptions
from ptycho_dist.data.scan import open_scan
from ptycho_dist.data.scan_set import ScanSet, open_set, open_source, read_source_header
from ptycho_dist.data.set_index import INDEX_NAME, entry_of, read_index, write_index
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import Shard
from tests.support.scans import make_scan, write_own, write_tike
from tests.support.sets import write_set


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_set(tmp_path / "set", *(make_scan(n_patterns=8 + seed, seed=seed) for seed in range(3)))


def test_header_of_a_set_sums_up_its_scans(folder: Path) -> None:
    header = read_source_header(folder)
    own = [open_scan(folder / f"{number}.h5").header for number in range(3)]
    assert (header.n_patterns, header.N, header.n_modes, header.format_name) == (27, 16, 1, "ptycho_dist_set")
    assert header.mean_counts == pytest.approx(sum(one.mean_counts * one.n_patterns for one in own) / 27)
    assert [entry.checksum for entry in read_index(folder)] == [one.checksum for one in own]


def test_checksum_of_a_set_covers_every_scan_and_their_order(folder: Path) -> None:
    before = read_source_header(folder).checksum
    entries = read_index(folder)
    write_index(folder, entries[::-1])
    assert read_source_header(folder).checksum != before
    write_own(folder / "2.h5", make_scan(n_patterns=10, seed=9))
    write_index(folder, [*entries[:2], entry_of(folder / "2.h5")])
    assert read_source_header(folder).checksum != before


def test_source_is_a_scan_or_a_set(folder: Path) -> None:
    assert isinstance(open_source(folder), scan_set.ScanSet)
    assert open_source(folder / "0.h5").header == open_scan(folder / "0.h5").header


def test_scans_of_any_format_make_a_set(tmp_path: Path) -> None:
    files = [write_tike(tmp_path / "a.npz", make_scan()), write_own(tmp_path / "b.h5", make_scan(seed=1))]
    write_index(tmp_path, [entry_of(file) for file in files])
    with open_set(tmp_path) as scans:
        assert [scans.scan(number).header.format_name for number in (0, 1)] == ["tike_npz", "ptycho_dist_h5"]


def test_few_scans_are_open_at_a_time(folder: Path) -> None:
    scans = ScanSet(folder, read_index(folder), ScanOptions(), kept=2)
    first, second = scans.scan(0), scans.scan(1)
    assert scans.scan(0) is first
    scans.scan(2)
    assert scans.scan(0) is first
    assert scans.scan(1) is not second
    rows = np.arange(4)
    np.testing.assert_array_equal(scans.scan(1).read_patterns(rows), open_scan(folder / "1.h5").read_patterns(rows))


def test_set_can_be_pickled(folder: Path) -> None:
    scans = open_set(folder)
    before = scans.scan(1).read_patterns(np.array([3]))
    again: scan_set.ScanSet = pickle.loads(pickle.dumps(scans))
    np.testing.assert_array_equal(again.scan(1).read_patterns(np.array([3])), before)
    assert again.header == scans.header


def test_changed_scan_is_named_by_the_rank_that_verifies_it(folder: Path) -> None:
    path = folder / "1.h5"
    content = bytearray(path.read_bytes())
    place = content.index(open_scan(path).positions_px.tobytes()) + 6
    content[place] ^= 1
    path.write_bytes(content)
    scans = open_set(folder)
    scans.verify(Shard(0, 2, 0, 1))
    with pytest.raises(DataFormatError, match=r"1\.h5 has SHA-256 .*set\.json says.*was changed"):
        scans.verify(Shard(1, 2, 1, 3))


def test_scan_that_is_not_as_listed_is_refused_when_it_is_opened(folder: Path) -> None:
    change(folder, lambda scans: scans[1].update(n_patterns=7))
    scans = open_set(folder)
    scans.scan(0)
    with pytest.raises(DataFormatError, match=r"1\.h5 has n_patterns = 9, but .*set\.json says 7"):
        scans.scan(1)


def change(folder: Path, edit: Callable[[list[dict[str, Any]]], object]) -> None:
    path = folder / INDEX_NAME
    content = json.loads(path.read_text())
    edit(content["scans"])
    path.write_text(json.dumps(content))


HARM: dict[str, tuple[Callable[[Path], object], str]] = {
    "no index": (lambda folder: (folder / INDEX_NAME).unlink(), r"has no set\.json.*simulate FOLDER --n_scans"),
    "missing folder": (shutil.rmtree, r"is missing; expected a scan file, or a set"),
    "not JSON": (lambda folder: (folder / INDEX_NAME).write_text("{"), r"set\.json is not JSON"),
    "another JSON": (lambda folder: (folder / INDEX_NAME).write_text("[]"), r"does not say format"),
    "newer": (
        lambda folder: (folder / INDEX_NAME).write_text('{"format": "ptycho_dist_set", "schema_version": 2}'),
        r"schema_version 2; expected 1",
    ),
    "no scans": (lambda folder: change(folder, lambda scans: scans.clear()), r"lists no scans"),
    "a field too few": (lambda folder: change(folder, lambda scans: scans[1].pop("N")), r"describes scan 1 as"),
    "a wrong type": (lambda folder: change(folder, lambda scans: scans[1].update(N="16")), r"scan 1 wrongly: N = '16'"),
    "no patterns": (lambda folder: change(folder, lambda scans: scans[2].update(n_patterns=0)), r"positive numbers"),
    "outside": (lambda folder: change(folder, lambda scans: scans[2].update(file="../2.h5")), r"a file beside it"),
    "twice": (lambda folder: change(folder, lambda scans: scans.append(scans[0])), r"lists 0\.h5 twice"),
    "missing file": (lambda folder: (folder / "1.h5").unlink(), r"1\.h5 is missing, which .*set\.json lists"),
    "truncated file": (
        lambda folder: (folder / "1.h5").write_bytes((folder / "1.h5").read_bytes()[:-100]),
        r"1\.h5 has \d+ bytes, but .*truncated or was changed",
    ),
    "another N": (
        lambda folder: change(folder, lambda scans: scans[2].update(N=32)),
        r"2\.h5 has 32 pixels along one side of a pattern, 0\.h5 has 16; expected the same",
    ),
    "another number of modes": (
        lambda folder: change(folder, lambda scans: scans[1].update(n_modes=2)),
        r"1\.h5 has 2 probe modes, 0\.h5 has 1; expected the same",
    ),
}


@pytest.mark.parametrize("harm", HARM)
def test_harmed_set_is_refused(folder: Path, harm: str) -> None:
    do, words = HARM[harm]
    do(folder)
    with pytest.raises(DataFormatError, match=words):
        open_source(folder) if folder.exists() else open_set(folder)


def test_scans_that_differ_in_size_make_no_set(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=r"1\.h5 has 32 pixels"):
        write_set(tmp_path / "set", make_scan(), make_scan(N=32))
    assert not (tmp_path / "set" / INDEX_NAME).exists()


def test_reader_of_one_format_is_not_chosen_for_a_set(folder: Path) -> None:
    with pytest.raises(DataFormatError, match=r"data\.file_format = 'tike_npz', but .* is a set of scans"):
        open_set(folder, ScanOptions(file_format="tike_npz"))


def test_inspect_describes_a_set(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "set of 3 scans" in said
    assert "27 of 16 x 16 pixels" in said
    assert f"next: ptycho-dist train {folder} --output_dir" in said


@pytest.mark.parametrize("command", ["reconstruct", "plan"])
def test_commands_for_one_scan_refuse_a_set(
    folder: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(folder), "--output_dir", str(tmp_path / "out")]) == 2
    assert "is not a file; expected a scan" in capsys.readouterr().err


def test_training_on_a_folder_without_an_index_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["train", str(tmp_path / "empty"), "--output_dir", str(tmp_path / "out"), "--accelerator", "cpu"]) == 2
    said = capsys.readouterr().err
    assert "DataFormatError" in said
    assert "has no set.json" in said
