"""Read what launcher started this process, and as which rank.

Pure functions over a mapping of environment variables; nothing here opens a
process group. One reader for each launcher; :func:`detect` picks exactly one.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ptycho_dist.errors import LaunchError

Env = Mapping[str, str]

LAUNCHER_VARIABLE = "PTYCHO_DIST_LAUNCHER"
LAUNCH_ID_VARIABLE = "PTYCHO_DIST_LAUNCH_ID"
DEFAULT_PORT = 29500
_PORT_BASE, _PORT_SPAN = 20000, 10000


@dataclass(frozen=True, kw_only=True)
class RankContext:
    """Place of this process among the ranks of one launch.

    Parameters
    ----------
    rank, world
        Global rank and number of ranks.
    local_rank, local_world
        The same on this node.
    node_rank, nodes
        Index of this node and number of nodes.
    launcher
        torchrun, slurm, mpi, spawn (our supervisor) or plain (one process).
    why
        The variables that decided it, for logs and error messages.
    main_address, main_port
        Where rank 0 listens; port 0 means that none is needed, no address that the ranks have yet to agree on one.
    port_is_derived
        Whether the port was derived from the job's number, so that another may be taken instead.
    launch_id
        What all ranks of this launch know and those of another launch do not.

    Raises
    ------
    LaunchError
        If the numbers contradict each other.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int
    node_rank: int
    nodes: int
    launcher: str
    why: str
    main_address: str
    main_port: int
    port_is_derived: bool = False
    launch_id: str = ""

    def __post_init__(self) -> None:
        for name, value, bound in (
            ("rank", self.rank, self.world),
            ("local rank", self.local_rank, self.local_world),
            ("node rank", self.node_rank, self.nodes),
        ):
            if not 0 <= value < bound:
                self._refuse(f"{name} is {value} of {bound}; expected 0 <= {name} < {bound}")
        if self.local_world * self.nodes != self.world:
            self._refuse(
                f"{self.nodes} nodes with {self.local_world} ranks on this one, but {self.world} ranks in all; "
                "expected the same number of ranks on every node"
            )
        if self.rank != self.node_rank * self.local_world + self.local_rank:
            self._refuse(
                f"rank {self.rank} is local rank {self.local_rank} on node {self.node_rank} with {self.local_world} "
                "ranks per node; expected ranks filled node by node (block order, not round robin)"
            )

    def _refuse(self, found: str) -> None:
        msg = f"{self.launcher}: {found}. Read from {self.why}. Fix the launch command, or unset stale variables."
        raise LaunchError(msg)


def detect(env: Env) -> RankContext:
    """Find the launcher of this process and its place in the launch.

    ``PTYCHO_DIST_LAUNCHER`` names a launcher and then decides; else torchrun,
    MPI and srun are looked for in this order (the inner one of nested
    launchers is asked first), and a process without any is one plain rank.

    Parameters
    ----------
    env
        Environment variables, such as ``os.environ``.

    Raises
    ------
    LaunchError
        If variables are missing, not integers, or contradict each other.
    """
    return _READERS[launcher_name(env)](env)


def launcher_name(env: Env) -> str:
    """Name of the launcher that started this process (see :func:`detect`)."""
    chosen = env.get(LAUNCHER_VARIABLE)
    if chosen is not None:
        return _check_chosen(chosen, env)
    if "TORCHELASTIC_RUN_ID" in env:
        return "torchrun"
    if "OMPI_COMM_WORLD_RANK" in env or ("PMI_RANK" in env and not _is_srun_step(env)):
        return "mpi"
    if _is_srun_step(env):
        return "slurm"
    if "WORLD_SIZE" in env and _read_int(env, "WORLD_SIZE") > 1:
        msg = (
            f"RANK = {env.get('RANK')!r} and WORLD_SIZE = {env['WORLD_SIZE']!r} are set, but no known launcher is; "
            "expected torchrun, srun, mpirun or none. Start with one of these, or unset RANK and WORLD_SIZE."
        )
        raise LaunchError(msg)
    return "plain"


def _check_chosen(chosen: str, env: Env) -> str:
    if chosen not in _READERS:
        msg = f"{LAUNCHER_VARIABLE} = {chosen!r}; expected one of {', '.join(_READERS)}. Change or unset it."
        raise LaunchError(msg)
    if chosen == "spawn" and "TORCHELASTIC_RUN_ID" in env:
        msg = f"{LAUNCHER_VARIABLE} = 'spawn' and TORCHELASTIC_RUN_ID are both set; expected one launcher. Unset one."
        raise LaunchError(msg)
    return chosen


def _is_srun_step(env: Env) -> bool:
    """Tell whether srun started this process (a batch script has no step id)."""
    return "SLURM_STEP_ID" in env and "SLURM_PROCID" in env and "MPI_LOCALRANKID" not in env


def _read_int(env: Env, *names: str) -> int:
    """Value of the first of ``names`` that is set."""
    for name in names:
        if name in env:
            try:
                return int(env[name])
            except ValueError as error:
                msg = f"{name} = {env[name]!r}; expected an integer. Fix the launch command, or unset {name}."
                raise LaunchError(msg) from error
    msg = f"{' or '.join(names)} is not set, though the launcher sets it. Start the ranks with the launcher itself."
    raise LaunchError(msg)


def _why(env: Env, *names: str) -> str:
    return ", ".join(f"{name}={env[name]}" for name in names if name in env)


def _plain(env: Env) -> RankContext:
    return RankContext(
        rank=0, world=1, local_rank=0, local_world=1, node_rank=0, nodes=1, launcher="plain",
        why="no launcher's variables", main_address="127.0.0.1", main_port=0,
    )  # fmt: skip


def _torch_style(env: Env, launcher: str, marker: str) -> RankContext:
    world, local_world = _read_int(env, "WORLD_SIZE"), _read_int(env, "LOCAL_WORLD_SIZE")
    return RankContext(
        rank=_read_int(env, "RANK"),
        world=world,
        local_rank=_read_int(env, "LOCAL_RANK"),
        local_world=local_world,
        node_rank=_read_int(env, "GROUP_RANK", "NODE_RANK"),
        nodes=_read_int(env, "GROUP_WORLD_SIZE") if "GROUP_WORLD_SIZE" in env else _count_nodes(world, local_world),
        launcher=launcher,
        why=_why(env, marker, "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK"),
        main_address=env.get("MASTER_ADDR", "127.0.0.1"),
        main_port=_read_int(env, "MASTER_PORT"),
        launch_id=env.get("TORCHELASTIC_RUN_ID") or env.get(LAUNCH_ID_VARIABLE, ""),
    )


def _torchrun(env: Env) -> RankContext:
    return _torch_style(env, "torchrun", "TORCHELASTIC_RUN_ID")


def _spawn(env: Env) -> RankContext:
    return _torch_style(env, "spawn", LAUNCHER_VARIABLE)


def _count_nodes(world: int, local_world: int) -> int:
    return max(1, world // local_world) if local_world > 0 else 1


def _slurm(env: Env) -> RankContext:
    node_rank = _read_int(env, "SLURM_NODEID")
    tasks = expand_tasks_per_node(env.get("SLURM_STEP_TASKS_PER_NODE") or env.get("SLURM_TASKS_PER_NODE") or "1")
    if len(set(tasks)) > 1:
        msg = f"srun: tasks per node are {tasks}; expected the same number on every node. Give --ntasks-per-node."
        raise LaunchError(msg)
    hosts = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_NODELIST") or "127.0.0.1"
    job = f"{env.get('SLURM_JOB_ID', '')}.{env.get('SLURM_STEP_ID', '')}"
    return RankContext(
        rank=_read_int(env, "SLURM_PROCID"),
        world=_read_int(env, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
        local_rank=_read_int(env, "SLURM_LOCALID"),
        local_world=tasks[0],
        node_rank=node_rank,
        nodes=_read_int(env, "SLURM_STEP_NUM_NODES", "SLURM_NNODES"),
        launcher="slurm",
        why=_why(env, "SLURM_STEP_ID", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NODEID",
                 "SLURM_STEP_TASKS_PER_NODE"),
        main_address=env.get("MASTER_ADDR") or first_host(hosts),
        main_port=_port(env, job),
        port_is_derived="MASTER_PORT" not in env,
        launch_id=f"slurm {job}",
    )  # fmt: skip


def _mpi(env: Env) -> RankContext:
    names = {
        "rank": ("OMPI_COMM_WORLD_RANK", "PMI_RANK"),
        "world": ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE"),
        "local_rank": ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID"),
        "local_world": ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"),
    }
    place = {key: _read_int(env, *variables) for key, variables in names.items()}
    nodes = _count_nodes(place["world"], place["local_world"])
    job = env.get("PMIX_NAMESPACE") or env.get("OMPI_MCA_ess_base_jobid") or ""
    return RankContext(
        rank=place["rank"],
        world=place["world"],
        local_rank=place["local_rank"],
        local_world=place["local_world"],
        node_rank=place["rank"] // max(1, place["local_world"]),
        nodes=nodes,
        launcher="mpi",
        why=_why(env, *(variable for pair in names.values() for variable in pair)),
        main_address=env.get("MASTER_ADDR", "127.0.0.1" if nodes == 1 else ""),
        main_port=_port(env, job),
        port_is_derived="MASTER_PORT" not in env,
        launch_id=job,
    )


_READERS: dict[str, Callable[[Env], RankContext]] = {
    "torchrun": _torchrun,
    "slurm": _slurm,
    "mpi": _mpi,
    "spawn": _spawn,
    "plain": _plain,
}


def _port(env: Env, job: str) -> int:
    """MASTER_PORT, else a port that all ranks of one job derive alike and other jobs rarely share."""
    if "MASTER_PORT" in env:
        return _read_int(env, "MASTER_PORT")
    return _PORT_BASE + zlib.crc32(job.encode()) % _PORT_SPAN if job else DEFAULT_PORT


def first_host(node_list: str) -> str:
    """First host of a SLURM node list: ``n[03-07,9],m1`` gives ``n03``."""
    match = re.match(r"([^,\[]*)(?:\[(\w+)[^\]]*\])?([^,\[]*)", node_list)
    return "".join(part or "" for part in match.groups()) if match else node_list


def expand_tasks_per_node(text: str) -> list[int]:
    """Expand SLURM's tasks per node: ``2(x3),1`` gives ``[2, 2, 2, 1]``.

    Raises
    ------
    LaunchError
        If the text has another form.
    """
    tasks: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if match is None:
            msg = f"SLURM_TASKS_PER_NODE = {text!r}; expected a form such as 2(x3),1. Fix the launch command."
            raise LaunchError(msg)
        tasks += [int(match[1])] * int(match[2] or 1)
    return tasks
