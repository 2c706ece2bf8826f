"""What happens when ranks differ, fail or die: all end in time, and the reason is named."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

from tests.support.kill import children, kill_rank, wait_until
from tests.support.launch import finish, free_port, rank_variables, run, start
from tests.support.runs import simulate_tiny

LONG = ["--max_epochs", 100000, "--early_stop_patience", 100000, "--accelerator", "cpu", "--width", 8, "--depth", 1]


def train(scan: Path, output_dir: Path, *flags: object) -> list[object]:
    return ["train", scan, "--output_dir", output_dir, *LONG, *flags]


def test_payload_changed_on_one_rank_ends_both_and_names_the_fields(scan: Path, tmp_path: Path) -> None:
    other = simulate_tiny(tmp_path / "elsewhere" / scan.name, seed=3)
    port, started = free_port(), time.monotonic()
    processes = [
        start(["-m", "ptycho_dist", *train(path, tmp_path, "--seed", seed)], rank_variables(rank, 2, port))
        for rank, (path, seed) in enumerate(((scan, 0), (other, 5)))
    ]
    ended = [finish(process, 60.0) for process in processes]
    assert time.monotonic() - started < 30
    for one in ended:
        assert one.returncode == 2
        assert "AgreementError" in one.stderr
        assert "training.seed is 0 on rank 0 but 5 on rank 1" in one.stderr
        assert "scan.checksum is" in one.stderr
        assert "Traceback" not in one.stderr


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
