"""HDF5 files on a disk that fills up, and files that another program still writes."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptycho_dist import hdf5_files
from ptycho_dist.data.formats import hdf5
from ptycho_dist.errors import DataFormatError
from tests.support import disk as disk_support

ROWS = np.random.default_rng(1).integers(0, 60000, (800, 32, 32)).astype(np.uint16)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 1 MiB."""
    reason = disk_support.missing()
    if reason is not None:
        pytest.skip(f"NOT RUN: {reason}")
    with disk_support.small_disk(tmp_path / "disk", 1) as folder:
        yield folder


def write(path: Path) -> None:
    with hdf5_files.writing(path) as file:
        rows = file.create_dataset("rows", ROWS.shape, ROWS.dtype, chunks=(1, 32, 32), compression="gzip")
        for number, row in enumerate(ROWS):
            rows[number] = row
            file.require_written()
        file.attrs["end"] = 1


def write_unwatched(path: Path) -> None:
    with hdf5_files.writing(path) as file:
        for number in range(200):
            file.create_dataset(f"row {number}", data=ROWS[number])


def test_file_is_what_h5py_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"old and longer than nothing")
    write(path)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["rows"][()], ROWS)
        assert file.attrs["end"] == 1


def test_full_disk_is_an_error_at_the_next_write_and_hdf5_goes_on(disk: Path, tmp_path: Path) -> None:
    for _ in range(3):
        with pytest.raises(OSError, match="No space left on device") as caught:
            write(disk / "a.h5")
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(disk / "a.h5"))
    write(tmp_path / "b.h5")
    test_file_is_what_h5py_reads(tmp_path)


@pytest.mark.parametrize("spare", [0, 1000, 4096, 20000])
def test_full_disk_when_the_file_is_closed_is_an_error(disk: Path, spare: int) -> None:
    with (disk / "filler").open("wb") as filler:
        filler.write(bytes((1 << 20) - 4096 - spare))
    with pytest.raises(OSError, match="No space left on device"):
        write_unwatched(disk / "a.h5")


def test_limit_on_the_size_of_files_is_an_error(tmp_path: Path) -> None:
    code = (
        "import pathlib, resource, sys; from tests.torch.test_hdf5_files import write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))\n"
        "try: write(pathlib.Path(sys.argv[1]))\n"
        "except OSError as error: sys.exit(error.errno)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.h5")], check=False)
    assert done.returncode == errno.EFBIG


def test_interrupt_in_mid_write_leaves_hdf5_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = hdf5_files.write_all
    calls = iter(range(1000))

    def interrupted(descriptor: int, content: memoryview, start: int) -> None:
        if next(calls) == 60:
            raise KeyboardInterrupt
        whole(descriptor, content, start)

    monkeypatch.setattr(hdf5_files, "write_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a.h5")
    monkeypatch.undo()
    write(tmp_path / "a.h5")


@pytest.mark.parametrize("swmr", [True, False])
def test_file_that_is_still_written_is_named_as_such(tmp_path: Path, swmr: bool) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w", libver="latest") as writer:
        writer.create_dataset("patterns", data=ROWS)
        if swmr:
            writer.swmr_mode = True
        writer.flush()
        code = "import sys; from pathlib import Path; from ptycho_dist.data.formats import hdf5; hdf5.open_file(Path(sys.argv[1]))"  # noqa: E501
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert f"DataFormatError: {path} is open in a program that still writes it (HDF5 SWMR" in done.stderr.replace(
        "ptycho_dist.errors.", ""
    )
    assert "h5clear -s" in done.stderr
    with hdf5.open_file(path) as file:
        assert file["patterns"].shape == ROWS.shape


def test_error_of_the_system_is_no_damage(tmp_path: Path) -> None:
    write(tmp_path / "a.h5")
    code = (
        "import resource, sys; from pathlib import Path; from ptycho_dist.data.formats import hdf5\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16)); held = []\n"
        "try:\n"
        "    while True: held.append(open('/dev/null'))\n"
        "except OSError: pass\n"
        "try: hdf5.open_file(Path(sys.argv[1]))\n"
        "except OSError as error: sys.exit(error.errno)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.h5")], check=False)
    assert done.returncode == errno.EMFILE
    (tmp_path / "b.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:5000])
    with pytest.raises(DataFormatError, match="damaged or truncated"):
        hdf5.open_file(tmp_path / "b.h5")
