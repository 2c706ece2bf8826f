"""One job at a time in an output folder: real jobs that meet there, and jobs that follow killed ones."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from ptycho_dist.folder_claim import NAME
from tests.support.kill import checkpoint_of, kill_rank, wait_until
from tests.support.launch import finish, run, run_torchrun, start
from tests.support.slurm import SlurmCluster

Words = list[object]
LIMIT_S = 90.0


def train(scan: Path, output_dir: Path, *flags: object) -> Words:
    return train_for(12, scan, output_dir, *flags)


def train_for(steps: int, scan: Path, output_dir: Path, *flags: object) -> Words:
    return ["train", scan, "--output_dir", output_dir, "--accelerator", "cpu", "--width", 8, "--depth", 1,
            "--group_size", 4, "--batch_size", 2, "--max_steps", steps, *flags]  # fmt: skip


def test_of_two_jobs_that_start_at_once_one_is_refused(scan: Path, tmp_path: Path) -> None:
    words = ["-m", "ptycho_dist", *train_for(100_000, scan, tmp_path / "out", "--devices", 1)]
    both = [start(words), start(words)]
    wait_until(lambda: any(one.poll() is not None for one in both), "the end of one", limit_s=LIMIT_S)
    refused, owner = sorted(both, key=lambda one: one.poll() is None)
    said = refused.communicate()[1]
    assert refused.returncode == 2, said
    assert "FolderInUseError" in said
    assert f"is in use by 'train' on {socket.gethostname()} (pid {owner.pid}" in said
    assert "written so far" not in said
    wait_until((tmp_path / "out" / "logs" / "metrics.csv").exists, "the first step", owner)
    owner.terminate()
    assert finish(owner, LIMIT_S).returncode == 75
    assert not (tmp_path / "out" / NAME).exists()


def test_second_job_of_two_ranks_is_refused_on_both_and_touches_nothing(scan: Path, tmp_path: Path) -> None:
    first = start(["-m", "ptycho_dist", *train(scan, tmp_path, "--devices", 1, "--checkpoint_interval_s", 0)])
    wait_until(checkpoint_of(tmp_path, 2).exists, "step 2", first)
    os.kill(first.pid, signal.SIGSTOP)
    log = (tmp_path / "logs" / "rank-00000.jsonl").read_bytes()
    (tmp_path / "x.h5").touch()
    for ended in (run(train(scan, tmp_path, "--devices", 2)), run(["evaluate", tmp_path / "x.h5"])):
        assert ended.returncode == 2, ended.stderr
        assert f"(pid {first.pid}" in ended.stderr
    doctor = run(["doctor", scan, "--output_dir", tmp_path, "--accelerator", "cpu", "--devices", 1, "--json"])
    (found,) = [one for one in json.loads(doctor.stdout)["results"] if one["name"] == "owner"]
    assert (found["status"], f"(pid {first.pid}" in found["found"]) == ("warn", True)
    assert (tmp_path / "logs" / "rank-00000.jsonl").read_bytes() == log
    assert not (tmp_path / "logs" / "rank-00001.jsonl").exists()
    os.kill(first.pid, signal.SIGCONT)
    assert finish(first, LIMIT_S).returncode == 0


@pytest.mark.exhaustive
def test_job_under_torchrun_is_refused_where_another_one_runs(scan: Path, tmp_path: Path) -> None:
    first = start(["-m", "ptycho_dist", *train(scan, tmp_path, "--devices", 1, "--checkpoint_interval_s", 0)])
    wait_until(checkpoint_of(tmp_path, 2).exists, "step 2", first)
    os.kill(first.pid, signal.SIGSTOP)
    ended = run_torchrun(train(scan, tmp_path), 2)
    assert ended.returncode == 1
    assert ended.stderr.count("ptycho-dist: FolderInUseError") == 2
    first.kill()
    first.communicate()


def test_killed_job_is_followed_at_once(scan: Path, tmp_path: Path) -> None:
    words = train(scan, tmp_path, "--devices", 2, "--checkpoint_interval_s", 0)
    supervisor = start(["-m", "ptycho_dist", *words])
    wait_until(checkpoint_of(tmp_path, 4).exists, "step 4", supervisor)
    kill_rank(supervisor, 0)
    assert finish(supervisor, LIMIT_S).returncode == 128 + signal.SIGKILL
    assert json.loads((tmp_path / NAME).read_text())["command"] == "train"
    ended = run(words)
    assert ended.returncode == 0, ended.stderr
    assert "resuming from" in ended.stderr
    assert "waiting up to" not in ended.stderr
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".owner")]


@pytest.mark.slurm
@pytest.mark.exhaustive
def test_ranks_of_srun_are_refused_on_two_nodes_where_another_job_runs(
    slurm: SlurmCluster, scan: Path, tmp_path: Path
) -> None:
    first = start(["-m", "ptycho_dist", *train(scan, tmp_path, "--devices", 1, "--checkpoint_interval_s", 0)])
    wait_until(checkpoint_of(tmp_path, 2).exists, "step 2", first)
    os.kill(first.pid, signal.SIGSTOP)
    command = [sys.executable, "-m", "ptycho_dist", *train(scan, tmp_path)]
    done = slurm.srun("--nodes=2", "--ntasks=2", "--ntasks-per-node=1", *command, limit_s=LIMIT_S)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("ptycho-dist: FolderInUseError") == 2
    first.kill()
    first.communicate()
