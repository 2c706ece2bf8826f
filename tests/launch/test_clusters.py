"""The clusters that other tests rely on: two hosts, a real SLURM, mpirun."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.mpi import mpirun
from tests.support.netns import TwoHosts
from tests.support.slurm import SlurmCluster

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 5555), 3).close()"
LISTEN = "import socket; s = socket.create_server(('', 5555)); print('ready', flush=True); s.accept(); s.accept()"


@pytest.mark.netns
def test_two_hosts_reach_each_other_by_name_until_the_cable_is_cut(two_hosts: TwoHosts) -> None:
    server = two_hosts.start(0, [sys.executable, "-c", LISTEN])
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    connect = [sys.executable, "-c", CONNECT, two_hosts.names[0]]
    assert two_hosts.run(1, connect).returncode == 0
    two_hosts.cut()
    assert two_hosts.run(1, connect).returncode != 0
    two_hosts.heal()
    assert two_hosts.run(1, connect).returncode == 0
    server.communicate(timeout=10)
    assert two_hosts.run(1, ["hostname"]).stdout.strip() == two_hosts.names[1]


@pytest.mark.slurm
def test_slurm_starts_tasks_on_two_nodes(slurm: SlurmCluster) -> None:
    done = slurm.srun("-N2", "--ntasks-per-node=2", "sh", "-c", "echo $SLURMD_NODENAME.$SLURM_LOCALID")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == [f"{node}.{task}" for node in slurm.nodes for task in (0, 1)]


@pytest.mark.slurm
@pytest.mark.exhaustive
def test_slurm_job_tells_its_exit_code_and_log_also_after_a_requeue(slurm: SlurmCluster, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text('#!/bin/sh\n[ -n "$SLURM_RESTART_COUNT" ] && { echo again; exit 3; }\nsleep 60\n')
    job = slurm.submit("--requeue", script)
    slurm.wait_for(job, lambda facts: facts[0]["JobState"] == "RUNNING")
    slurm.scontrol("requeue", job)
    ended = slurm.wait(job)
    assert (ended.state, ended.exit_code, ended.restarts, ended.log) == ("FAILED", 3, 1, "again\n")


@pytest.mark.mpi
@pytest.mark.usefixtures("mpi")
def test_mpirun_starts_ranks_that_see_each_other() -> None:
    words = "from mpi4py import MPI; c = MPI.COMM_WORLD; s = sum(c.allgather(c.rank)); c.rank or print(s, c.size)"
    done = mpirun(3, [sys.executable, "-c", words])
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", "3"]
