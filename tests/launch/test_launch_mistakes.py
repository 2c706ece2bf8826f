"""Launches whose numbers disagree: every rank says so with the numbers and the fix, in time, with one exit code."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.launch import finish, finish_all, free_port, start, step_losses
from tests.support.mpi import mpirun
from tests.support.slurm import SlurmCluster

LIMIT_S = 60.0
PROGRAM = [sys.executable, "-m", "ptycho_dist"]
STEPS = 2
SMALL = ["--width", 8, "--depth", 1, "--group_size", 4, "--batch_size", 2, "--max_steps", STEPS, "--accelerator", "cpu"]
USER_ERROR = 2
TELL_CODE = (
    'import subprocess, sys; code = subprocess.call(sys.argv[1:], close_fds=False); sys.stdout.write(f"exit={code};")'
)
"""A rank that tells the exit code of the program, whatever its launcher makes of it."""
Words = list[object]
Done = subprocess.CompletedProcess[str]


def train(scan: Path, output_dir: Path, *flags: object) -> Words:
    return ["train", scan, "--output_dir", output_dir, *SMALL, *flags]


def under_srun(request: pytest.FixtureRequest, words: Words) -> Done:
    cluster: SlurmCluster = request.getfixturevalue("slurm")
    return cluster.srun("-N1", "--ntasks-per-node=2", sys.executable, "-c", TELL_CODE, *words, limit_s=LIMIT_S)


def under_mpirun(request: pytest.FixtureRequest, words: Words) -> Done:
    """Run two ranks, which MPI ends together: their code is that of mpirun."""
    request.getfixturevalue("mpi")
    done = mpirun(2, words, limit_s=LIMIT_S)
    done.stdout += f"exit={done.returncode};" * 2
    return done


def under_torchrun(_request: pytest.FixtureRequest, words: Words) -> Done:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "--no-python"]
    return finish(start([*launcher, sys.executable, "-c", TELL_CODE, *words]), LIMIT_S)


Start = Callable[[pytest.FixtureRequest, Words], Done]


@pytest.mark.parametrize(
    ("launch", "devices"),
    [
        pytest.param(under_srun, 1, marks=pytest.mark.slurm, id="srun-1"),
        pytest.param(under_srun, 3, marks=[pytest.mark.slurm, pytest.mark.exhaustive], id="srun-3"),
        pytest.param(under_mpirun, 1, marks=[pytest.mark.mpi, pytest.mark.exhaustive], id="mpirun-1"),
        pytest.param(under_mpirun, 3, marks=[pytest.mark.mpi, pytest.mark.exhaustive], id="mpirun-3"),
        pytest.param(under_torchrun, 1, marks=pytest.mark.exhaustive, id="torchrun-1"),
        pytest.param(under_torchrun, 3, marks=pytest.mark.exhaustive, id="torchrun-3"),
    ],
)
def test_launch_refuses_devices_that_are_not_the_ranks(
    launch: Start, devices: int, scan: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    done = launch(request, [*PROGRAM, *train(scan, tmp_path, "--devices", devices)])
    assert re.findall(r"exit=(-?\d+);", done.stdout) == [str(USER_ERROR)] * 2, done.stderr
    said = done.stderr.replace("\n", " ")
    assert f"execution.devices = {devices}" in said
    assert "2 ranks" in said
    assert "Traceback" not in said
    assert not (tmp_path / "bundle").exists()


@pytest.mark.slurm
@pytest.mark.exhaustive
def test_sbatch_without_srun_starts_as_many_ranks_as_tasks_when_there_is_one_node(
    slurm: SlurmCluster, scan: Path, tmp_path: Path
) -> None:
    command = " ".join(map(str, [*PROGRAM, *train(scan, tmp_path, "--devices", 2)]))
    ended = slurm.wait(slurm.submit("-N1", "--ntasks-per-node=2", f"--wrap={command}"), LIMIT_S)
    assert ended.state == "COMPLETED", ended.log
    assert "2 rank(s), launcher spawn" in ended.log
    assert len(step_losses(tmp_path)) == STEPS


@pytest.mark.slurm
@pytest.mark.parametrize(
    ("nodes", "flags"),
    [
        pytest.param(2, ["--devices", 2], marks=pytest.mark.exhaustive),
        pytest.param(1, ["--devices", 3], marks=pytest.mark.exhaustive),
        (1, []),
    ],
)
def test_sbatch_without_srun_is_refused_when_tasks_would_be_idle(
    slurm: SlurmCluster, scan: Path, tmp_path: Path, nodes: int, flags: Words
) -> None:
    command = " ".join(map(str, [*PROGRAM, *train(scan, tmp_path, *flags)]))
    ended = slurm.wait(slurm.submit(f"-N{nodes}", "--ntasks-per-node=2", f"--wrap={command}"), LIMIT_S)
    assert (ended.state, ended.exit_code) == ("FAILED", USER_ERROR), ended.log
    assert f"{2 * nodes} tasks on {nodes} node" in " ".join(ended.log.split())
    assert "Put srun" in " ".join(ended.log.split())


@pytest.mark.slurm
@pytest.mark.exhaustive
def test_srun_trains_when_only_the_number_of_tasks_is_given(slurm: SlurmCluster, scan: Path, tmp_path: Path) -> None:
    done = slurm.srun("-n", 2, *PROGRAM, *train(scan, tmp_path), limit_s=LIMIT_S)
    assert done.returncode == 0, done.stderr
    assert "2 rank(s), launcher slurm" in done.stderr
    assert len(step_losses(tmp_path)) == STEPS


@pytest.mark.slurm
def test_srun_is_refused_on_every_rank_when_tasks_are_uneven(slurm: SlurmCluster, scan: Path, tmp_path: Path) -> None:
    words = [*PROGRAM, *train(scan, tmp_path)]
    done = slurm.srun("-N2", "-n", 3, sys.executable, "-c", TELL_CODE, *words, limit_s=LIMIT_S)
    assert re.findall(r"exit=(-?\d+);", done.stdout) == [str(USER_ERROR)] * 3, done.stderr
    assert "--ntasks-per-node" in done.stderr


@pytest.mark.slurm
@pytest.mark.parametrize(
    "named",
    [
        pytest.param(True, marks=pytest.mark.exhaustive, id="one port named for both"),
        pytest.param(False, marks=pytest.mark.exhaustive, id="ports of their own"),
    ],
)
def test_two_launches_at_once_finish_or_say_why_when_their_ports_collide(
    slurm: SlurmCluster, scan: Path, tmp_path: Path, named: bool
) -> None:
    started = time.monotonic()
    env = {"MASTER_PORT": str(free_port())} if named else {}
    runs = [
        slurm.start(
            "srun",
            "-N1",
            "--ntasks-per-node=2",
            "--overlap",
            *_program(train(scan, tmp_path / one, "--timeout_s", 30)),
            env=env,
        )
        for one in ("first", "second")
    ]
    ended = finish_all(runs, LIMIT_S)
    assert time.monotonic() - started < LIMIT_S
    codes = [re.findall(r"exit=(-?\d+);", done.stdout) for done in ended]
    for one, done, found in zip(("first", "second"), ended, codes, strict=True):
        assert found in (["0"] * 2, [str(USER_ERROR)] * 2), done.stderr
        if found == ["0"] * 2:
            assert len(step_losses(tmp_path / one)) == STEPS
        else:
            assert "MASTER_PORT" in done.stderr
    assert ["0"] * 2 in codes


def _program(words: Words) -> Words:
    return [sys.executable, "-c", TELL_CODE, *PROGRAM, *words]
