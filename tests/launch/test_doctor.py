"""The examination by real ranks: under each launcher, what it reports, and that all ranks agree on the end."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from ptycho_dist.doctor.needs import needs_of
from tests.support.launch import calm_environment, finish, free_port, rank_variables, run, start
from tests.support.mpi import missing
from tests.support.runs import training_payload
from tests.support.slurm import SlurmCluster

needs_mpi = [pytest.mark.mpi, pytest.mark.skipif(missing() is not None, reason=f"NOT RUN: {missing()}")]
UNDER = [
    pytest.param("torchrun", "torchrun", marks=pytest.mark.exhaustive),
    pytest.param("mpirun", "mpi", marks=needs_mpi),
]


def examined(text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Outcomes by name, and facts of the ranks."""
    report = json.loads(text[text.index("{") :])
    return {one["name"]: one for one in report["results"]}, report["ranks"]


@pytest.mark.parametrize(("under", "launcher"), UNDER)
def test_doctor_starts_itself_under_a_launcher(scan: Path, tmp_path: Path, under: str, launcher: str) -> None:
    done = run(["doctor", scan, "--output_dir", tmp_path / "out", "--accelerator", "cpu", "--under", under, "--json"])
    assert done.returncode == 0, done.stderr
    results, ranks = examined(done.stdout)
    assert [one["rank"] for one in ranks] == [0, 1]
    assert {one["launcher"] for one in ranks} == {launcher}
    assert not [name for name, one in results.items() if one["status"] == "fail"]
    assert results["shared files"]["found"].endswith("is seen by all 2 ranks")
    assert results["settings"]["status"] == "ok"
    assert not (tmp_path / "out").exists()


@pytest.mark.slurm
@pytest.mark.exhaustive
def test_doctor_starts_itself_under_srun_and_knows_the_time_left(
    slurm: SlurmCluster, scan: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "ptycho_dist", "doctor", scan, "--output_dir", tmp_path, "--accelerator", "cpu",
               "--under", "srun", "--json"]  # fmt: skip
    done = slurm.client(*command, limit_s=90.0)
    assert done.returncode == 0, done.stderr
    results, ranks = examined(done.stdout)
    assert [(one["rank"], one["launcher"], one["nodes"]) for one in ranks] == [(0, "slurm", 1), (1, "slurm", 1)]
    assert ranks[0]["slurm"]["tasks"] == 2
    assert 0 < ranks[0]["slurm"]["time_left_s"] < 3600
    assert results["time limit"]["status"] in ("ok", "warn")


@pytest.mark.exhaustive
def test_doctor_fails_on_every_rank_when_devices_and_ranks_differ() -> None:
    port = free_port()
    command = ["-m", "ptycho_dist", "doctor", "--devices", 3, "--accelerator", "cpu"]
    both = [start(command, rank_variables(rank, 2, port)) for rank in (0, 1)]
    ended = [finish(one, 60.0) for one in both]
    assert [one.returncode for one in ended] == [2, 2]
    assert "but execution.devices = 3" in ended[0].stdout
    assert "Start 3 ranks per node, or set execution.devices = 2" in ended[0].stdout
    assert (ended[1].stdout, ended[1].stderr) == ("", "")


def test_doctor_fails_when_a_rank_has_other_settings(scan: Path, tmp_path: Path) -> None:
    port = free_port()
    command = ["-m", "ptycho_dist", "doctor", scan, "--output_dir", tmp_path, "--accelerator", "cpu", "--seed"]
    both = [start([*command, rank], rank_variables(rank, 2, port)) for rank in (0, 1)]
    ended = [finish(one, 60.0) for one in both]
    assert [one.returncode for one in ended] == [2, 2]
    assert "on rank 0 but" in ended[0].stdout


def test_doctor_says_within_its_time_that_a_rank_never_came() -> None:
    command = ["-m", "ptycho_dist", "doctor", "--timeout_s", 2, "--accelerator", "cpu"]
    ended = finish(start(command, rank_variables(0, 2, free_port())), 60.0)
    assert ended.returncode == 2
    assert "rank 0 of 2 did not find the other ranks" in ended.stderr


def test_doctor_under_a_launcher_that_is_not_there_says_so() -> None:
    done = finish(start(["-m", "ptycho_dist", "doctor", "--under", "srun"], {"PATH": "/nowhere"}), 60.0)
    assert done.returncode == 2
    assert "there is no srun on PATH" in done.stderr


@pytest.mark.exhaustive
def test_job_tells_at_its_start_that_ranks_crowd_the_cores(scan: Path, tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    flags = ["--max_steps", 1, "--accelerator", "cpu", "--width", 8, "--depth", 1, "--devices", 2]
    command = ["-m", "ptycho_dist", "train", scan, "--output_dir", tmp_path, *flags]
    done = finish(start(command, {"OMP_NUM_THREADS": str(cores)}), 90.0)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stderr.split())
    assert f"use {2 * cores} threads on {cores} cores" in said
    assert said.count("OMP_NUM_THREADS=") == 1


def test_estimate_of_memory_is_near_what_a_training_takes(scan: Path, tmp_path: Path) -> None:
    wide = {"width": 64, "stages": 2, "group_size": 8, "batch_size": 32}
    flags = [word for name, value in wide.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "ptycho_dist", "train", str(scan), "--output_dir", str(tmp_path), "--quiet",
               "--accelerator", "cpu", "--max_steps", "1", *flags]  # fmt: skip
    pid = os.spawnve(os.P_NOWAIT, sys.executable, command, calm_environment())
    _, status, usage = os.wait4(pid, 0)
    assert status == 0
    estimate = needs_of(training_payload(scan, tmp_path, **wide), 1).memory_bytes
    assert estimate is not None
    assert 0.67 < estimate / (usage.ru_maxrss * 1024) < 1.5
