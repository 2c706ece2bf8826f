"""Launcher detection over environments that real launchers left (recorded/launchers.json)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ptycho_dist.errors import LaunchError
from ptycho_dist.launching.environment import RankContext, detect, require_whole_allocation

RECORDED: dict[str, list[dict[str, str]]] = json.loads(
    (Path(__file__).parent / "recorded" / "launchers.json").read_text(encoding="ascii")
)
"""Variables of each rank, in the order of ranks; torch 2.13, SLURM 22.05, MPICH 5.0, Open MPI 5.0, Intel MPI 2021."""

LAUNCHES = {
    "torchrun": ("torchrun", 1, 2),
    "srun_torchrun_2nodes": ("torchrun", 2, 2),
    "mpich": ("mpi", 1, 2),
    "openmpi": ("mpi", 1, 2),
    "intelmpi": ("mpi", 1, 2),
    "srun_1node": ("slurm", 1, 2),
    "srun_n2": ("slurm", 1, 2),
    "srun_2nodes": ("slurm", 2, 1),
    "srun_2nodes_2tasks": ("slurm", 2, 2),
    "srun_pmi2": ("slurm", 2, 2),
    "sbatch_srun": ("slurm", 2, 2),
    "sbatch_srun_one_of_four": ("slurm", 1, 1),
    "salloc_interactive_srun": ("slurm", 2, 2),
    "sbatch_mpich": ("mpi", 1, 2),
    "sbatch_openmpi": ("mpi", 1, 2),
    "sbatch_shell": ("plain", 1, 1),
    "salloc_shell": ("plain", 1, 1),
    "salloc_interactive_shell": ("plain", 1, 1),
    "srun_notebook": ("plain", 1, 1),
}
"""Launcher, nodes and ranks per node that were really started."""
NODES, PER_NODE = 8, 4


def place(context: RankContext) -> tuple[int, ...]:
    return (
        context.rank, context.world, context.local_rank, context.local_world, context.node_rank, context.nodes
    )  # fmt: skip


def places(nodes: int, per_node: int) -> list[tuple[int, ...]]:
    """Give the places of all ranks in block order."""
    world = nodes * per_node
    return [(rank, world, rank % per_node, per_node, rank // per_node, nodes) for rank in range(world)]


@pytest.mark.parametrize("name", LAUNCHES)
def test_detect_places_every_rank_of_a_recorded_launch(name: str) -> None:
    launcher, nodes, per_node = LAUNCHES[name]
    contexts = [detect(env) for env in RECORDED[name]]
    assert [context.launcher for context in contexts] == [launcher] * (nodes * per_node)
    assert [place(context) for context in contexts] == places(nodes, per_node)
    assert len({(one.main_address, one.main_port, one.launch_id) for one in contexts}) == 1


@pytest.mark.parametrize(("name", "words"), [("srun_uneven", r"\[2, 1\].*--ntasks-per-node"), ("srun_cyclic", "block")])
def test_detect_refuses_a_recorded_launch_when_ranks_are_not_filled_node_by_node(name: str, words: str) -> None:
    refused = []
    for env in RECORDED[name]:
        try:
            detect(env)
        except LaunchError as error:
            refused.append(str(error))
    assert refused
    assert all(re.search(words, said) for said in refused)


@pytest.mark.parametrize("name", ["srun_notebook", "sbatch_shell", "mpich"])
@pytest.mark.parametrize("chosen", ["plain", "spawn"])
def test_detect_follows_the_variable_when_a_notebook_runs_under_a_launcher(name: str, chosen: str) -> None:
    spawned = dict(zip(("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK"), "12120", strict=True))
    env = RECORDED[name][0] | ({"MASTER_PORT": "4321"} | spawned if chosen == "spawn" else {})
    context = detect(env | {"PTYCHO_DIST_LAUNCHER": chosen})
    assert context.launcher == chosen
    assert place(context) == (places(1, 2)[1] if chosen == "spawn" else places(1, 1)[0])


def grow(name: str, rank: int) -> dict[str, str]:
    """Variables that a recorded launch would have on 8 nodes of 4 ranks."""
    world, local, node = str(NODES * PER_NODE), str(rank % PER_NODE), str(rank // PER_NODE)
    changes = {
        "torchrun": {"RANK": str(rank), "WORLD_SIZE": world, "LOCAL_RANK": local, "LOCAL_WORLD_SIZE": str(PER_NODE),
                     "GROUP_RANK": node, "GROUP_WORLD_SIZE": str(NODES), "MASTER_ADDR": "n0"},
        "srun_2nodes_2tasks": {"SLURM_PROCID": str(rank), "SLURM_STEP_NUM_TASKS": world, "SLURM_NTASKS": world,
                               "SLURM_LOCALID": local, "SLURM_STEP_TASKS_PER_NODE": f"{PER_NODE}(x{NODES})",
                               "SLURM_NODEID": node, "SLURM_STEP_NUM_NODES": str(NODES),
                               "SLURM_STEP_NODELIST": "nid[001003-001010]"},
        "openmpi": {"OMPI_COMM_WORLD_RANK": str(rank), "OMPI_COMM_WORLD_SIZE": world,
                    "OMPI_COMM_WORLD_LOCAL_RANK": local, "OMPI_COMM_WORLD_LOCAL_SIZE": str(PER_NODE)},
        "mpich": {"PMI_RANK": str(rank), "PMI_SIZE": world, "MPI_LOCALRANKID": local,
                  "MPI_LOCALNRANKS": str(PER_NODE)},
    }  # fmt: skip
    return RECORDED[name][0] | changes["mpich" if name == "intelmpi" else name]


def pals(rank: int) -> dict[str, str]:
    """Variables of a rank that mpiexec of HPE Cray (PALS) starts, as its manual names them."""
    return {
        "PALS_APID": "6c1b", "PALS_RANKID": str(rank), "PALS_LOCAL_RANKID": str(rank % PER_NODE),
        "PALS_NODEID": str(rank // PER_NODE), "PMI_RANK": str(rank), "PMI_SIZE": str(NODES * PER_NODE),
        "PMI_LOCAL_RANK": str(rank % PER_NODE), "PMI_LOCAL_SIZE": str(PER_NODE),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["torchrun", "srun_2nodes_2tasks", "openmpi", "mpich", "intelmpi", "pals"])
def test_detect_places_ranks_on_eight_nodes_of_four_gpus(name: str) -> None:
    contexts = [detect(pals(rank) if name == "pals" else grow(name, rank)) for rank in range(NODES * PER_NODE)]
    assert [place(context) for context in contexts] == places(NODES, PER_NODE)
    expected = {"torchrun": "n0", "srun_2nodes_2tasks": "nid001003"}
    assert {context.main_address for context in contexts} == {expected.get(name, "")}
    assert len({context.main_port for context in contexts}) == 1


@pytest.mark.parametrize("name", ["sbatch_shell", "salloc_shell", "salloc_interactive_shell"])
def test_require_whole_allocation_refuses_when_srun_was_forgotten(name: str) -> None:
    env = RECORDED[name][0]
    with pytest.raises(LaunchError, match=r"(4 tasks on 2 nodes|2 tasks on 1 node), but srun .* 1 rank .*Put srun"):
        require_whole_allocation(env, 1)
    require_whole_allocation(env | {"PTYCHO_DIST_LAUNCHER": "plain"}, 1)


def test_require_whole_allocation_accepts_as_many_ranks_as_tasks_on_one_node() -> None:
    env = RECORDED["salloc_shell"][0]
    require_whole_allocation(env, 2)
    require_whole_allocation(env | {"SLURM_NTASKS": "1"}, 4)
    with pytest.raises(LaunchError, match="2 ranks"):
        require_whole_allocation(RECORDED["sbatch_shell"][0], 2)


IN_ALLOCATIONS = [
    name
    for name, (launcher, *_) in LAUNCHES.items()
    if launcher != "plain" and {"SLURM_JOB_ID", "SLURM_NTASKS"} <= set(RECORDED[name][0])
]


@pytest.mark.parametrize("name", IN_ALLOCATIONS)
def test_require_whole_allocation_asks_nothing_of_ranks(name: str) -> None:
    for env in RECORDED[name]:
        require_whole_allocation(env, 1)


def test_ranks_of_srun_and_of_others_in_allocations_are_recorded() -> None:
    assert {LAUNCHES[name][0] for name in IN_ALLOCATIONS} == {"torchrun", "slurm", "mpi"}
