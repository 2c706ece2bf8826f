"""A scan that several ranks wrote together is the scan that one rank writes, and no half of it is ever read."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ptycho_dist.data.batches import PatternBatches
from ptycho_dist.data.content import checksum
from ptycho_dist.data.formats.ptycho_dist_h5_ranks import write_scan_h5_on_ranks
from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent
from ptycho_dist.data.scan import open_scan
from ptycho_dist.distributed.sharding import local_slice, shard
from ptycho_dist.errors import DataFormatError, OtherRankError
from tests.support.scans import make_scan, write_own
from tests.support.threads import ThreadExchange, on_ranks

MADE = make_scan()


def write(path: Path, world: int, counts: Any = MADE.counts, **changes: Any) -> list[Any]:
    """Let some ranks write a scan; what each returned or raised."""

    def work(ranks: ThreadExchange) -> Path:
        own = shard(len(MADE.counts), ranks.rank, ranks.world)
        fields = {"positions_px": MADE.positions_px, "probe": MADE.probe, "object_": MADE.object_} | changes
        chunks = np.array_split(counts[local_slice(own)], 2) if len(own) > 1 else [counts[local_slice(own)]]
        return write_scan_h5_on_ranks(path, ScanContent(patterns=iter(chunks), **fields), own, ranks)

    return on_ranks(world, work)


def files_of(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.parts-*/*"))


@pytest.mark.parametrize("world", [2, 3, 5, 14])
def test_scan_has_the_same_content_when_more_ranks_write_it(tmp_path: Path, world: int) -> None:
    mask = np.arange(16 * 16).reshape(16, 16) % 7 > 0
    alone = open_scan(write_own(tmp_path / "alone.h5", MADE, mask=mask))
    path = tmp_path / "s.h5"
    assert write(path, world, mask=mask) == [path] * world
    assert len(files_of(path)) == min(world, 12)
    scan, rows = open_scan(path), np.arange(12)
    np.testing.assert_array_equal(scan.read_patterns(rows), alone.read_patterns(rows))
    np.testing.assert_array_equal(scan.read_patterns(rows[::-3]), alone.read_patterns(rows[::-3]))
    assert scan.positions_px.tobytes() == alone.positions_px.tobytes()
    assert scan.header.mean_counts == alone.header.mean_counts
    assert scan.object_ is not None
    np.testing.assert_array_equal(scan.object_, MADE.object_)


def test_scan_has_one_type_when_a_rank_needs_a_wider_one(tmp_path: Path) -> None:
    counts = np.ones((12, 16, 16))
    counts[9, 3, 4] = 60_000
    write(tmp_path / "s.h5", 3, counts)
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["patterns"].dtype == np.uint16
    with open_scan(tmp_path / "s.h5") as scan:
        np.testing.assert_array_equal(scan.read_patterns(np.arange(12)), counts.astype(np.float32))


def test_scan_opens_when_it_was_moved_with_its_rows(tmp_path: Path) -> None:
    write(tmp_path / "a" / "s.h5", 2)
    shutil.move(tmp_path / "a", tmp_path / "b")
    with open_scan(tmp_path / "b" / "s.h5") as scan:
        np.testing.assert_array_equal(scan.read_patterns(np.arange(12)), MADE.counts)


def test_symbolic_link_to_a_scan_opens(tmp_path: Path) -> None:
    write(tmp_path / "a" / "s.h5", 2)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "s.h5").symlink_to(tmp_path / "a" / "s.h5")
    with open_scan(tmp_path / "links" / "s.h5") as scan:
        np.testing.assert_array_equal(scan.read_patterns(np.arange(12)), MADE.counts)


@pytest.mark.parametrize("name", ["50%overlap.h5", "100%%.h5", "%b.h5", "a b#c.h5"])
def test_scan_may_have_any_name(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, 2)
    with open_scan(tmp_path / name) as scan:
        np.testing.assert_array_equal(scan.read_patterns(np.arange(12)), MADE.counts)


def test_scan_written_again_by_a_relative_path_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for counts in (MADE.counts, MADE.counts, MADE.counts[::-1]):
        write(Path("s.h5"), 2, counts)
        with open_scan("s.h5") as scan:
            np.testing.assert_array_equal(scan.read_patterns(np.arange(12)), counts)
    assert len(files_of(tmp_path / "s.h5")) == 2


def test_scan_is_read_by_other_processes_of_a_loader(tmp_path: Path) -> None:
    write(tmp_path / "s.h5", 3)
    with open_scan(tmp_path / "s.h5") as scan:
        scan.read_patterns(np.arange(2))
        loader = DataLoader(PatternBatches(scan, np.arange(12), 5), batch_size=None, num_workers=1)
        counts = torch.cat([batch[: len(rows)] for batch, rows in loader])
    np.testing.assert_array_equal(counts.numpy(), MADE.counts)


def test_scan_is_refused_when_rows_are_missing_damaged_or_too_few(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    write(path, 2)
    second = files_of(path)[1]
    content = second.read_bytes()
    second.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataFormatError, match=r"rows-00001-of-00002\.h5 .* damaged or truncated"):
        open_scan(path)
    second.unlink()
    with pytest.raises(DataFormatError, match=r"rows-00001-of-00002\.h5 is missing"):
        open_scan(path)
    with h5py.File(second, "w") as file:
        file["patterns"] = np.zeros((3, 16, 16), np.uint16)
    with pytest.raises(DataFormatError, match="takes more from it"):
        open_scan(path)


def test_checksum_covers_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    write(path, 2)
    parts = files_of(path)
    before = [open_scan(path).header.checksum, checksum(path, parts, whole_below=1)]
    content = bytearray(parts[1].read_bytes())
    content[-1] ^= 1
    parts[1].write_bytes(content)
    assert checksum(path, parts) != before[0]
    assert checksum(path, parts, whole_below=1) != before[1]
    assert checksum(path, parts) != checksum(path)


def test_new_scan_takes_the_place_of_the_old_one_and_of_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    write(path, 3)
    old = files_of(path)
    write(path, 2, MADE.counts[::-1])
    assert not any(one.exists() for one in old)
    assert len(files_of(path)) == 2
    write_own(path, MADE)
    write(path, 2)
    assert len(list(tmp_path.iterdir())) == 3, "the rows of a scan that one rank replaced are not ours to remove"


def test_same_scan_written_again_has_the_same_checksum_and_heals_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    write(path, 3)
    before, parts = open_scan(path).header.checksum, files_of(path)
    parts[1].write_bytes(b"damaged")
    time.sleep(1.1)  # HDF5 keeps times in whole seconds
    write(path, 3)
    assert open_scan(path).header.checksum == before
    assert files_of(path) == parts


def test_rows_go_when_the_joining_file_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    write(path, 2)
    before = {one: one.read_bytes() for one in (path, *files_of(path))}
    ended = write(path, 2, MADE.counts[::-1], metadata={"not json": object()})
    assert isinstance(ended[0], TypeError)
    assert isinstance(ended[1], OtherRankError)
    assert {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()} == before
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("failing", [0, 1])
def test_old_scan_and_its_rows_stay_when_a_rank_fails(tmp_path: Path, failing: int) -> None:
    path = tmp_path / "s.h5"
    write(path, 2)
    before = {one: one.read_bytes() for one in (path, *files_of(path))}
    bad = MADE.counts.copy()
    bad[failing * 6 + 2, 0, 0] = -1
    ended = write(path, 2, bad)
    assert isinstance(ended[failing], DataFormatError)
    assert f"pattern {failing * 6 + 2} " in str(ended[failing])
    assert isinstance(ended[1 - failing], OtherRankError)
    assert f"rank {failing} failed" in str(ended[1 - failing])
    assert {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()} == before


def test_ranks_refuse_patterns_of_two_sizes(tmp_path: Path) -> None:
    def work(ranks: ThreadExchange) -> Path:
        side = 16 + 8 * ranks.rank
        own = shard(12, ranks.rank, 2)
        content = ScanContent(patterns=[np.ones((6, side, side))], positions_px=MADE.positions_px)
        return write_scan_h5_on_ranks(tmp_path / "s.h5", content, own, ranks)

    for error in on_ranks(2, work):
        assert "expected one size" in str(error)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["patterns", "positions_px", "probe"])
def test_files_behind_external_links_are_part_of_the_checksum(tmp_path: Path, key: str) -> None:
    made = make_scan()
    path, other = write_own(tmp_path / "scan.h5", made), write_own(tmp_path / "other.h5", made)
    with h5py.File(path, "r+") as file:
        del file[key]
        file[key] = h5py.ExternalLink("other.h5", key)
    before = open_scan(path).header.checksum
    with h5py.File(other, "r+") as file:
        file[key][0] = file[key][1] if key != "probe" else 2 * file[key][0]
    assert open_scan(path).companions == (other,)
    assert open_scan(path).header.checksum != before


def test_a_link_to_a_virtual_dataset_leads_to_its_sources(tmp_path: Path) -> None:
    path, other = write_own(tmp_path / "scan.h5", make_scan()), write_own(tmp_path / "rows.h5", make_scan())
    with h5py.File(tmp_path / "virtual.h5", "w") as file, h5py.File(other) as rows:
        layout = h5py.VirtualLayout(rows["patterns"].shape, rows["patterns"].dtype)
        layout[...] = h5py.VirtualSource("rows.h5", "patterns", rows["patterns"].shape)
        file.create_virtual_dataset("patterns", layout)
    with h5py.File(path, "r+") as file:
        del file["patterns"]
        file["patterns"] = h5py.ExternalLink("virtual.h5", "patterns")
    scan = open_scan(path)
    assert scan.companions == (tmp_path / "virtual.h5", other)
    assert scan.counts().shape == (12, 16, 16)
