"""A rank that receives the scan of rank 0 reads nothing of the file before it needs patterns."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from ptycho_dist.data.scan import Scan, open_unselected
from ptycho_dist.data.scan_set import received
from ptycho_dist.errors import DataFormatError
from tests.support.scans import make_scan, write_own, write_ptychopinn, write_tike

SECOND_OF_ITS_NODE = {
    "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0",
    "GROUP_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "TORCHELASTIC_RUN_ID": "test",
}  # fmt: skip


def told(path: Path) -> tuple[Scan, int, str]:
    """Return what rank 0 tells of a scan, after its way to another rank."""
    scan = open_unselected(path)
    message: tuple[Scan, int, str] = pickle.loads(pickle.dumps((scan, scan.n_bytes, scan.sample_checksum())))
    return message


@pytest.fixture
def second_of_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECOND_OF_ITS_NODE.items():
        monkeypatch.setenv(name, value)


def bytes_read() -> int:
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


@pytest.mark.parametrize(("name", "write"), [("s.h5", write_own), ("t.npz", write_tike), ("p.npz", write_ptychopinn)])
def test_received_scan_is_that_of_rank_0(tmp_path: Path, name: str, write: type) -> None:
    path = write(tmp_path / name, make_scan())
    opened, found = open_unselected(path), received(path, *told(path))
    assert found.header == opened.header or np.isnan(opened.header.energy_eV)
    assert found.header.checksum == opened.header.checksum
    np.testing.assert_array_equal(found.read_numbers(np.arange(12)), opened.read_numbers(np.arange(12)))
    np.testing.assert_array_equal(found.positions_px, opened.positions_px)
    found.require_unchanged()


@pytest.mark.usefixtures("second_of_its_node")
def test_second_rank_of_a_node_reads_nothing_at_the_start(tmp_path: Path) -> None:
    message = told(write_own(tmp_path / "s.h5", make_scan()))
    start = bytes_read()
    asking = bytes_read() - start
    before = bytes_read()
    received(message[0].header.path, *message)
    assert bytes_read() - before <= asking + 64


def test_first_rank_of_a_node_refuses_another_content_of_the_same_size(tmp_path: Path) -> None:
    path = write_own(tmp_path / "s.h5", make_scan())
    message = told(path)
    path.write_bytes(bytes(message[1]))
    with pytest.raises(DataFormatError, match=r"a sample of .* on this rank and .* on rank 0"):
        received(message[0].header.path, *message)


@pytest.mark.usefixtures("second_of_its_node")
def test_every_rank_refuses_another_size(tmp_path: Path) -> None:
    path = write_own(tmp_path / "s.h5", make_scan())
    message = told(path)
    path.write_bytes(b"short")
    with pytest.raises(DataFormatError, match=r"5 bytes on this rank and \d+ on rank 0"):
        received(message[0].header.path, *message)
