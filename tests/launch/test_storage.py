"""Storage that fills up, has no file locks, or holds any name: real processes, and every command."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptycho_dist.data.scan import open_scan
from tests.support import disk as disk_support
from tests.support.launch import finish, run, run_well, start

Words = list[object]
SIMULATE: Words = ["--n_patterns", 60, "--N", 32, "--defocus_m", 2e-5]
SMALL: Words = ["--accelerator", "cpu", "--width", 8, "--depth", 1, "--max_epochs", 2, "--checkpoint_interval_s", 0]
DISK_MIB = 4
NO_LOCKS = "#include <errno.h>\nint flock(int fd, int op) { (void)fd; (void)op; errno = ENOLCK; return -1; }\n"


@pytest.fixture(scope="module")
def results(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reconstruct once."""
    folder = tmp_path_factory.mktemp("results")
    words = ["reconstruct", scan, "--output_dir", folder, "--devices", 1, *SMALL, "--refine.iterations", 2]
    run_well(words)
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 4 MiB."""
    reason = disk_support.missing()
    if reason is not None:
        pytest.skip(f"NOT RUN: {reason}")
    with disk_support.small_disk(tmp_path / "disk", DISK_MIB) as folder:
        yield folder


def leave(folder: Path, kibibytes: int) -> None:
    """Fill the disk of a folder but for so many KiB."""
    found = os.statvfs(folder)
    with (folder / "filler").open("wb") as filler:
        filler.write(bytes(max(0, found.f_bavail * found.f_bsize - kibibytes * 1024)))


@contextmanager
def full_once_begun(folder: Path, kibibytes: int) -> Iterator[None]:
    """Fill the disk as soon as a job has begun there."""
    ended = threading.Event()

    def fill() -> None:
        while not ended.is_set() and not (folder / "out" / "unfinished.json").exists():
            time.sleep(0.002)
        leave(folder, kibibytes)

    filler = threading.Thread(target=fill)
    filler.start()
    try:
        yield
    finally:
        ended.set()
        filler.join()


def require_one_line(ended: subprocess.CompletedProcess[str], ranks: int) -> None:
    told = [line for line in ended.stderr.splitlines() if line.startswith("ptycho-dist: ")]
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr
    assert any("No space left on device" in line for line in told), ended.stderr
    assert len([line for line in told if "continuing without" not in line]) <= ranks + 1, ended.stderr


def written(disk: Path, command: str, scan: Path) -> Words:
    if command == "convert":
        return ["convert", scan, disk / "scan.h5"]
    return ["simulate", disk / "scan.h5", *SIMULATE] if command == "simulate" else \
        ["simulate", disk / "set", "--n_scans", 3, *SIMULATE]  # fmt: skip


LONG = pytest.mark.exhaustive


@pytest.mark.parametrize("command", ["simulate", "convert", pytest.param("set", marks=LONG)])
@pytest.mark.parametrize("ranks", [pytest.param(1, marks=LONG), 2])
def test_scan_that_does_not_fit_on_the_disk(disk: Path, scan: Path, tmp_path: Path, command: str, ranks: int) -> None:
    before = run([*written(tmp_path, command, scan), "--devices", ranks])
    assert before.returncode == 0, before.stderr
    for kibibytes in (0, 40):
        (disk / "filler").unlink(missing_ok=True)
        leave(disk, kibibytes)
        require_one_line(run([*written(disk, command, scan), "--devices", ranks]), ranks)
    assert not list(disk.rglob("*.tmp"))


def job(command: str, scan: Path, results: Path, ranks: int) -> Words:
    words: dict[str, Words] = {
        "train": ["train", scan, *SMALL],
        "tensorboard": ["train", scan, *SMALL, "--logger_backend", "tensorboard"],
        "mlflow": ["train", scan, *SMALL, "--logger_backend", "mlflow"],
        "reconstruct": ["reconstruct", scan, *SMALL, "--refine.iterations", 2],
        "infer": ["infer", scan, "--model_path", results, "--accelerator", "cpu"],
        "refine": ["refine", scan, "--accelerator", "cpu", "--iterations", 3, "--checkpoint_interval_s", 0],
    }
    return [*words[command], "--devices", ranks]


@pytest.mark.exhaustive
@pytest.mark.parametrize("command", ["train", "tensorboard", "mlflow", "reconstruct", "infer", "refine"])
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("kibibytes", [0, 30, 120])
def test_job_on_a_disk_that_fills_up(
    disk: Path, scan: Path, results: Path, command: str, ranks: int, kibibytes: int
) -> None:
    with full_once_begun(disk, kibibytes):
        ended = run([*job(command, scan, results, ranks), "--output_dir", disk / "out"])
    require_one_line(ended, ranks)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kibibytes", [0, 60])
def test_pictures_that_do_not_fit_on_the_disk(disk: Path, scan: Path, results: Path, kibibytes: int) -> None:
    leave(disk, kibibytes)
    words = ["evaluate", results / "reconstruction.h5", "--scan", scan, "--output_dir", disk / "out"]
    require_one_line(run(words), 1)


@pytest.fixture(scope="module")
def without_locks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables of a process for which no file can be locked, as on Lustre without flock."""
    folder = tmp_path_factory.mktemp("locks")
    (folder / "locks.c").write_text(NO_LOCKS)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / "locks.so", folder / "locks.c"], check=True)
    return {"LD_PRELOAD": str(folder / "locks.so")}


@pytest.mark.parametrize(
    "words",
    [
        lambda scan, out: ["convert", scan, out / "c.h5", "--devices", 2],
        lambda scan, out: ["doctor", scan, "--output_dir", out, "--devices", 1, "--accelerator", "cpu"],
        pytest.param(lambda scan, out: ["reconstruct", scan, "--output_dir", out, *SMALL], marks=LONG),
    ],
)
def test_file_system_without_locks(
    scan: Path, tmp_path: Path, without_locks: dict[str, str], words: Callable[[Path, Path], Words]
) -> None:
    ended = finish(start(["-m", "ptycho_dist", *words(scan, tmp_path / "out")], without_locks), 90.0)
    assert ended.returncode == 0, ended.stderr


NAME = "50%d %% \n\t'quoted\" [a-z]*? {brace} ~$HOME`x`;&|<># back\\slash \u00e9\u4e2d"


def test_any_character_in_names_on_two_ranks(tmp_path: Path) -> None:
    folder = tmp_path / f"-{NAME}"
    source, copy, out = folder / f"{NAME}.h5", folder / f"-{NAME}.h5", folder / f"out {NAME}"
    run_well(["simulate", source, *SIMULATE, "--devices", 2])
    (tmp_path / "link.h5").symlink_to(source)
    run_well(["convert", tmp_path / "link.h5", copy, "--devices", 2])
    with h5py.File(source) as file, open_scan(copy) as found:
        np.testing.assert_array_equal(found.read_patterns(np.arange(60)), file["patterns"][()])
    run_well(["reconstruct", copy, "--output_dir", out, "--devices", 2, *SMALL, "--refine.iterations", 1])
    assert (out / "reconstruction.h5").is_file()
    assert not list(folder.rglob("*.tmp"))
