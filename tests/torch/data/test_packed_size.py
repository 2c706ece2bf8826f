"""A large compressed archive is refused with what to do, before anything of it is unpacked."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ptycho_dist.cli import main
from ptycho_dist.data.formats import npz
from ptycho_dist.data.scan import ScanOptions, open_scan
from ptycho_dist.doctor.outcome import FAIL
from ptycho_dist.doctor.scan_check import scan_results
from ptycho_dist.errors import DataFormatError
from tests.support.scans import make_scan, write_ptychopinn, write_tike

_DIRECTORY_ENTRY, _UNPACKED_SIZE_AT = b"PK\x01\x02", 24
_TOO_LARGE = "'data' in .* is compressed and has 1073741952 bytes .* ptycho-dist convert .*big.npz .*big.h5$"


def claim_size(path: Path, member: str, n_bytes: int) -> Path:
    """Make the directory of an archive say that a member has so many bytes when unpacked."""
    content = bytearray(path.read_bytes())
    entry = content.rindex(_DIRECTORY_ENTRY, 0, content.rindex(member.encode()))
    struct.pack_into("<I", content, entry + _UNPACKED_SIZE_AT, n_bytes)
    path.write_bytes(content)
    return path


def write_large(path: Path, shape: tuple[int, ...], compression: int) -> Path:
    """Write a tike scan whose patterns would have that shape; none of them is there."""
    write_tike(path, make_scan(), data=None)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "a", compression) as archive:
        archive.writestr("data.npy", header.getvalue())
    return claim_size(path, "data.npy", int(np.prod(shape)) + len(header.getvalue()))


def test_large_compressed_scan_is_refused_with_the_command_to_use(tmp_path: Path) -> None:
    path = write_large(tmp_path / "big.npz", (4096, 512, 512), zipfile.ZIP_DEFLATED)
    with pytest.raises(DataFormatError, match=_TOO_LARGE):
        open_scan(path)


def test_doctor_says_what_the_job_would_say(tmp_path: Path) -> None:
    path = write_large(tmp_path / "big.npz", (4096, 512, 512), zipfile.ZIP_DEFLATED)
    (result,) = scan_results(path, ScanOptions())
    assert result.status == FAIL
    assert "ptycho-dist convert" in result.found


def test_job_ends_with_the_command_to_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_large(tmp_path / "big.npz", (4096, 512, 512), zipfile.ZIP_DEFLATED)
    assert main(["train", str(path), "--output_dir", str(tmp_path / "run")]) == 2
    assert "ptycho-dist convert" in capsys.readouterr().err


@pytest.mark.parametrize(("n_rows", "compression"), [(4095, zipfile.ZIP_DEFLATED), (8192, zipfile.ZIP_STORED)])
def test_what_is_small_or_not_compressed_is_not_refused(tmp_path: Path, n_rows: int, compression: int) -> None:
    npz.require_in_place(write_large(tmp_path / "s.npz", (n_rows, 512, 512), compression))


def test_scan_that_is_refused_may_be_unpacked_on_request(tmp_path: Path) -> None:
    path = write_ptychopinn(tmp_path / "s.npz", make_scan(n_patterns=12))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("notes.npy", b"")
    claim_size(path, "notes.npy", (1 << 30) + 1)
    with pytest.raises(DataFormatError, match="'notes' in"):
        open_scan(path)
    with open_scan(path, unpack=True) as scan:
        assert scan.read_patterns(np.arange(12)).shape == (12, 16, 16)
    assert main(["convert", str(path), str(tmp_path / "s.h5")]) == 0
    with open_scan(tmp_path / "s.h5") as converted:
        assert len(converted) == 12
