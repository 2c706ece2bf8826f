"""What happens when ranks differ, fail or die: all end in time, and the reason is named."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import h5py

from tests.support.kill import children, kill_rank, wait_until
from tests.support.launch import finish, finish_all, free_port, rank_variables, run, start
from tests.support.runs import simulate_tiny

LONG = ["--max_epochs", 100000, "--early_stop_patience", 100000, "--accelerator", "cpu", "--width", 8, "--depth", 1]


def train(scan: Path, output_dir: Path, *flags: object) -> list[object]:
    return ["train", scan, "--output_dir", output_dir, *LONG, *flags]


def train_as_two(folder: Path, *ranks: tuple[Path, int]) -> list[subprocess.CompletedProcess[str]]:
    """Train as two ranks, each with a scan and a seed of its own."""
    port = free_port()
    processes = [
        start(["-m", "ptycho_dist", *train(path, folder, "--seed", seed)], rank_variables(rank, 2, port))
        for rank, (path, seed) in enumerate(ranks)
    ]
    return finish_all(processes, 60.0)


def test_payload_changed_on_one_rank_ends_both_and_names_the_fields(scan: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    ended = train_as_two(tmp_path, (scan, 0), (scan, 5))
    assert time.monotonic() - started < 30
    for one in ended:
        assert one.returncode == 2
        assert "AgreementError" in one.stderr
        assert "training.seed is 0 on rank 0 but 5 on rank 1" in one.stderr
        assert "Traceback" not in one.stderr


def test_another_scan_on_one_rank_ends_both_and_names_the_sizes(scan: Path, tmp_path: Path) -> None:
    other = simulate_tiny(tmp_path / "elsewhere" / scan.name, seed=3)
    sizes = f"{other} has {other.stat().st_size} bytes on this rank and {scan.stat().st_size} on rank 0"
    for one in train_as_two(tmp_path, (scan, 0), (other, 0)):
        assert one.returncode == 2
        assert sizes in one.stderr
        assert "Traceback" not in one.stderr


def test_other_content_of_the_same_size_on_one_rank_ends_both(scan: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / scan.name
    other.parent.mkdir()
    shutil.copy(scan, other)
    with h5py.File(other, "r+") as file:
        file["patterns"][0] = file["patterns"][0][::-1]
    for one in train_as_two(tmp_path, (scan, 0), (other, 0)):
        assert one.returncode == 2
        assert "on this rank and" in one.stderr
        assert "Traceback" not in one.stderr


def test_only_rank_0_reads_the_scan_for_its_checksum(scan: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom ptycho_dist.data import scan\nhashed = scan.checksum\n"
        "def tell(*arguments, **more):\n    print('hashed')\n    return hashed(*arguments, **more)\n"
        "scan.checksum = tell\nfrom ptycho_dist.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    port = free_port()
    line = ["train", scan, "--output_dir", tmp_path, "--accelerator", "cpu", "--width", 8, "--max_epochs", 1]
    ended = finish_all([start(["-c", code, *line], rank_variables(rank, 2, port)) for rank in (0, 1)], 90.0)
    assert [one.returncode for one in ended] == [0, 0], ended
    assert [one.stdout.count("hashed") for one in ended] == [1, 0]


def test_rank_that_is_killed_is_named_with_its_signal_and_the_others_end(scan: Path, tmp_path: Path) -> None:
    supervisor = start(["-m", "ptycho_dist", *train(scan, tmp_path, "--devices", 2)])
    wait_until((tmp_path / "checkpoints" / "last.ckpt").exists, "the first epoch", supervisor)
    pids = children(supervisor.pid)
    assert len(pids) == 2
    victim = kill_rank(supervisor, 1)
    killed = time.monotonic()
    ended = finish(supervisor, 40.0)
    assert time.monotonic() - killed < 30
    assert ended.returncode == 128 + signal.SIGKILL
    assert f"rank 1 (pid {victim}) was killed by SIGKILL" in ended.stderr
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_user_error_is_shown_once_by_two_ranks(scan: Path, tmp_path: Path) -> None:
    done = run(train(scan, tmp_path, "--devices", 2, "--gridsize", 9))
    assert done.returncode == 2
    assert len(re.findall("ConfigError", done.stderr)) == 1
    assert "gridsize = 9 groups 81 patterns" in done.stderr
    assert "Traceback" not in done.stderr


def test_rank_that_never_comes_ends_the_others_within_the_timeout(scan: Path, tmp_path: Path) -> None:
    present = start(["-m", "ptycho_dist", *train(scan, tmp_path, "--timeout_s", 2)], rank_variables(0, 2, free_port()))
    ended = finish(present, 60.0)
    assert ended.returncode == 2
    assert "rank 0 of 2 did not find the other ranks" in ended.stderr
