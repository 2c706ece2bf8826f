"""Tests of launcher detection."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ptycho_dist.errors import LaunchError
from ptycho_dist.launching.environment import RankContext, detect
from ptycho_dist.launching.node_lists import expand_tasks_per_node, first_host

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "1", "GROUP_WORLD_SIZE": "2", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1234",
}  # fmt: skip
SPAWN = {
    "PTYCHO_DIST_LAUNCHER": "spawn", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
    "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "4321",
}  # fmt: skip
SRUN = {
    "SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1", "SLURM_NNODES": "2", "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_STEP_NODELIST": "n[0-1]",
}  # fmt: skip
SBATCH = {
    "SLURM_JOB_ID": "77", "SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
    "SLURM_NNODES": "2", "SLURM_TASKS_PER_NODE": "2(x2)", "SLURM_NODELIST": "n[0-1]",
}  # fmt: skip
OPENMPI = {
    "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "PMIX_NAMESPACE": "prterun-host-17@1",
}  # fmt: skip
MPICH = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}


def place(context: RankContext) -> tuple[object, ...]:
    return (
        context.launcher, context.rank, context.world, context.local_rank, context.local_world,
        context.node_rank, context.nodes,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, ("plain", 0, 1, 0, 1, 0, 1)),
        (SBATCH, ("plain", 0, 1, 0, 1, 0, 1)),
        (TORCHRUN, ("torchrun", 3, 4, 1, 2, 1, 2)),
        (SPAWN, ("spawn", 1, 2, 1, 2, 0, 1)),
        (SRUN, ("slurm", 3, 4, 1, 2, 1, 2)),
        (OPENMPI, ("mpi", 1, 2, 1, 2, 0, 1)),
        (MPICH, ("mpi", 1, 2, 1, 2, 0, 1)),
        (SRUN | TORCHRUN, ("torchrun", 3, 4, 1, 2, 1, 2)),
        (SBATCH | OPENMPI, ("mpi", 1, 2, 1, 2, 0, 1)),
        (SRUN | OPENMPI, ("mpi", 1, 2, 1, 2, 0, 1)),
        (SRUN | MPICH, ("mpi", 1, 2, 1, 2, 0, 1)),
        (SRUN | {"PMI_RANK": "3", "PMI_SIZE": "4"}, ("slurm", 3, 4, 1, 2, 1, 2)),
        (SRUN | {"PTYCHO_DIST_LAUNCHER": "plain"}, ("plain", 0, 1, 0, 1, 0, 1)),
    ],
)
def test_detect_reads_each_launcher(env: dict[str, str], expected: tuple[object, ...]) -> None:
    assert place(detect(env)) == expected


def test_detect_finds_where_rank_zero_listens() -> None:
    assert (detect(TORCHRUN).main_address, detect(TORCHRUN).main_port) == ("10.0.0.1", 1234)
    assert detect(SRUN).main_address == "n0"
    assert detect(SRUN | {"MASTER_ADDR": "n9", "MASTER_PORT": "7"}).main_port == 7


def test_detect_gives_two_slurm_jobs_different_ports_when_their_last_digits_agree() -> None:
    ports = {detect(SRUN | {"SLURM_JOB_ID": job}).main_port for job in ("10077", "20077", "30077")}
    assert len(ports) == 3
    assert all(1024 < port < 32768 for port in ports)


def test_detect_gives_all_ranks_of_one_job_the_same_port() -> None:
    other = SRUN | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
    assert detect(SRUN).main_port == detect(other).main_port


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (TORCHRUN | {"RANK": "4"}, "rank is 4 of 4"),
        (TORCHRUN | {"LOCAL_WORLD_SIZE": "3"}, "4 ranks in all"),
        (TORCHRUN | {"RANK": "2"}, "block order"),
        (TORCHRUN | {"WORLD_SIZE": "four"}, "WORLD_SIZE = 'four'"),
        ({k: v for k, v in TORCHRUN.items() if k != "MASTER_PORT"}, "MASTER_PORT is not set"),
        (SRUN | {"SLURM_STEP_TASKS_PER_NODE": "2,1", "SLURM_NTASKS": "3"}, "--ntasks-per-node"),
        (SRUN | {"SLURM_STEP_TASKS_PER_NODE": "two"}, "'two'"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "no known launcher"),
        (SPAWN | {"TORCHELASTIC_RUN_ID": "x"}, "both set"),
        ({"PTYCHO_DIST_LAUNCHER": "pbs"}, "'pbs'"),
    ],
)
def test_detect_refuses_when_values_contradict(env: dict[str, str], words: str) -> None:
    with pytest.raises(LaunchError, match=words):
        detect(env)


STRANGERS = [
    {"JSM_NAMESPACE_RANK": "1", "JSM_NAMESPACE_SIZE": "4", "JSM_NAMESPACE_LOCAL_RANK": "1"},
    {"FLUX_TASK_RANK": "0", "FLUX_JOB_SIZE": "2", "FLUX_TASK_LOCAL_ID": "0", "FLUX_JOB_ID": "f"},
    {"FLUX_TASK_RANK": "0", "FLUX_JOB_SIZE": "2", "PMI_RANK": "0", "PMI_SIZE": "2", "PMI_FD": "9"},
    {"MV2_COMM_WORLD_RANK": "0", "MV2_COMM_WORLD_SIZE": "2"},
    {"MV2_COMM_WORLD_RANK": "0"},
    {"PMIX_RANK": "1", "PMIX_NAMESPACE": "prte-1"},
    {"MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "2"},
    {"PALS_RANKID": "0"},
    {"PMI_RANK": "0", "PMI_SIZE": "2"},
]


@pytest.mark.parametrize("env", STRANGERS)
def test_rank_that_cannot_be_placed_is_refused_with_the_variables_to_set(env: dict[str, str]) -> None:
    words = "PTYCHO_DIST_LAUNCHER=torchrun and RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT"
    with pytest.raises(LaunchError, match=words):
        detect(env)
    assert detect(env | {"PTYCHO_DIST_LAUNCHER": "plain"}).world == 1
    named = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "n0",
             "MASTER_PORT": "2000", "PTYCHO_DIST_LAUNCHER": "torchrun"}  # fmt: skip
    assert place(detect(env | named))[:2] == place(detect(named))[:2]


@pytest.mark.parametrize("env", [{"JSM_NAMESPACE_RANK": "0", "JSM_NAMESPACE_SIZE": "1"}, {"FLUX_JOB_ID": "f"}])
def test_one_process_of_an_unknown_launcher_is_a_plain_one(env: dict[str, str]) -> None:
    assert detect(env).launcher == "plain"


def test_rank_context_refuses_when_changed_to_nonsense() -> None:
    with pytest.raises(LaunchError, match="node rank is 5"):
        replace(detect(TORCHRUN), node_rank=5)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("n0", "n0"),
        ("n0,n1", "n0"),
        ("n[3-7,9],m1", "n3"),
        ("gpu[007-010].site", "gpu007.site"),
        ("a-1,b[1-2]", "a-1"),
        ("r[1-2]n[1-2]", "r1n1"),
        ("x[1,3]y[04-05]z,q", "x1y04z"),
        ("r[08,09]-n7,a", "r08-n7"),
    ],
)
def test_first_host_expands_node_lists(text: str, host: str) -> None:
    assert first_host(text) == host


def test_expand_tasks_per_node_expands_repeats() -> None:
    assert expand_tasks_per_node("2(x3),1") == [2, 2, 2, 1]


def test_mpi_ranks_on_several_nodes_have_yet_to_agree_on_an_address() -> None:
    two_nodes = OPENMPI | {"OMPI_COMM_WORLD_SIZE": "4"}
    assert detect(two_nodes).main_address == ""
    assert detect(two_nodes | {"MASTER_ADDR": "n9"}).main_address == "n9"
    assert detect(OPENMPI).main_address == "127.0.0.1"
