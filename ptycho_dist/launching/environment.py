"""Read what launcher started this process, and as which rank.

Pure functions over a mapping of environment variables; nothing here opens a
process group. What each launcher sets is in the tables of ``launchers``.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from ptycho_dist.errors import LaunchError
from ptycho_dist.launching.launcher_variables import (
    BY_HAND,
    INTERACTIVE_STEP,
    LAUNCH_ID_VARIABLE,
    LAUNCHER_VARIABLE,
    LAUNCHERS,
    SIGNS,
    STRANGERS,
    TORCH_STYLE,
    VARIABLES,
    Names,
)
from ptycho_dist.launching.node_lists import expand_tasks_per_node, first_host
from ptycho_dist.progress.tracker import Progress

__all__ = [
    "LAUNCHER_VARIABLE",
    "LAUNCH_ID_VARIABLE",
    "RankContext",
    "detect",
    "launcher_name",
    "require_whole_allocation",
    "single_rank",
]

Env = Mapping[str, str]

DEFAULT_PORT = 29500
_BY_HAND_FIX = (
    f"Or export to each rank {LAUNCHER_VARIABLE}=torchrun and {', '.join(BY_HAND)}: its number, that of all, both on "
    "its node, the host of rank 0 and a free port there."
)
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
    launch_id
        What all ranks of this launch know and those of another launch do not.
    progress
        Where this rank reports how far it is; nobody listens where none was given.

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
    launch_id: str = ""
    progress: Progress = field(default_factory=Progress, compare=False, repr=False)

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

    ``PTYCHO_DIST_LAUNCHER`` names a launcher and then decides; else the
    launchers are looked for, the inner one of nested launchers first, and a
    process without any is one plain rank.

    Parameters
    ----------
    env
        Environment variables, such as ``os.environ``.

    Raises
    ------
    LaunchError
        If variables are missing, not integers, or contradict each other.
    """
    launcher = launcher_name(env)
    return single_rank() if launcher == "plain" else _read_context(env, launcher)


def launcher_name(env: Env) -> str:
    """Name of the launcher that started this process (see :func:`detect`)."""
    chosen = env.get(LAUNCHER_VARIABLE)
    if chosen is not None:
        return _check_chosen(chosen, env)
    for launcher, signs in SIGNS:
        if all(name in env for name in signs) and not _is_shell_of_salloc(env, launcher):
            return launcher
    if "WORLD_SIZE" in env and _read_int(env, "WORLD_SIZE") > 1:
        msg = (
            f"RANK = {env.get('RANK')!r} and WORLD_SIZE = {env['WORLD_SIZE']!r} are set, but no known launcher is; "
            "expected torchrun, srun, mpirun or none. Start with one of these, or unset RANK and WORLD_SIZE."
        )
        raise LaunchError(msg)
    _refuse_strangers(env)
    return "plain"


def _refuse_strangers(env: Env) -> None:
    """Refuse to be one plain process beside others that work on the same, under a launcher that is not recognised.

    Raises
    ------
    LaunchError
        Naming the launcher, and the variables by which the ranks are recognised.
    """
    for launcher, sign, size in STRANGERS:
        if sign in env and env.get(size) != "1":
            msg = (
                f"{launcher} has started this process ({sign}={env[sign]}, {size}={env.get(size, 'not set')}), but its "
                "place among the ranks is told by none of the variables of a known launcher; expected torchrun, srun "
                f"or mpirun. Use one of these. {_BY_HAND_FIX} For one process alone, export {LAUNCHER_VARIABLE}=plain."
            )
            raise LaunchError(msg)


def require_whole_allocation(env: Env, ranks: int) -> None:
    """Refuse to leave tasks of a SLURM allocation idle because srun was forgotten.

    Parameters
    ----------
    env
        Environment variables of a process that no launcher started.
    ranks
        Ranks that this process would start or be, on this node.

    Raises
    ------
    LaunchError
        With the numbers, unless ``PTYCHO_DIST_LAUNCHER`` says that it is on purpose.
    """
    if "SLURM_JOB_ID" not in env or "SLURM_NTASKS" not in env or launcher_name(env) != "plain":
        return
    tasks, nodes = _read_int(env, "SLURM_NTASKS"), _read_int(env, "SLURM_JOB_NUM_NODES", "SLURM_NNODES")
    all_used = tasks == 1 or (nodes == 1 and ranks == tasks)
    if all_used or LAUNCHER_VARIABLE in env:
        return
    msg = (
        f"SLURM gave this job {tasks} tasks on {nodes} node{'s' if nodes > 1 else ''}, but srun did not start this "
        f"process, which would run {ranks} rank{'s' if ranks > 1 else ''} on this node; expected all tasks. Put srun "
        f"in front of the command; or set {LAUNCHER_VARIABLE}=plain if you mean it."
    )
    raise LaunchError(msg)


def _check_chosen(chosen: str, env: Env) -> str:
    if chosen not in LAUNCHERS:
        msg = f"{LAUNCHER_VARIABLE} = {chosen!r}; expected one of {', '.join(LAUNCHERS)}. Change or unset it."
        raise LaunchError(msg)
    if chosen == "spawn" and "TORCHELASTIC_RUN_ID" in env:
        msg = f"{LAUNCHER_VARIABLE} = 'spawn' and TORCHELASTIC_RUN_ID are both set; expected one launcher. Unset one."
        raise LaunchError(msg)
    return chosen


def _is_shell_of_salloc(env: Env, launcher: str) -> bool:
    return launcher == "slurm" and env["SLURM_STEP_ID"] == INTERACTIVE_STEP


def _read_context(env: Env, launcher: str) -> RankContext:
    names = VARIABLES[launcher]
    rank, world = _read_int(env, *names.rank), _read_int(env, *names.world)
    local_world = _read_local_world(env, names.local_world)
    nodes = _first(env, names.nodes, world // max(1, local_world) or 1)
    launch_id = ".".join(env[name] for name in names.launch if name in env)
    is_named = names is TORCH_STYLE or "MASTER_PORT" in env
    return RankContext(
        rank=rank,
        world=world,
        local_rank=_read_int(env, *names.local_rank),
        local_world=local_world,
        node_rank=_first(env, names.node_rank, rank // max(1, local_world)),
        nodes=nodes,
        launcher=launcher,
        why=_why(env, launcher),
        main_address=env.get("MASTER_ADDR") or _first_host(env, names.hosts, nodes),
        main_port=_read_int(env, "MASTER_PORT") if is_named else _derived_port(launch_id),
        launch_id=launch_id and f"{launcher} {launch_id}",
    )


def single_rank() -> RankContext:
    """Place of a process that is the only rank."""
    return RankContext(
        rank=0,
        world=1,
        local_rank=0,
        local_world=1,
        node_rank=0,
        nodes=1,
        launcher="plain",
        why="no launcher's variables",
        main_address="127.0.0.1",
        main_port=0,
    )


def _read_int(env: Env, *names: str) -> int:
    """Value of the first of ``names`` that is set."""
    for name in names:
        if name in env:
            try:
                return int(env[name])
            except ValueError as error:
                msg = f"{name} = {env[name]!r}; expected an integer. Fix the launch command, or unset {name}."
                raise LaunchError(msg) from error
    msg = (
        f"{' or '.join(names)} is not set, though the launcher sets it. Start the ranks with the launcher itself. "
        f"{_BY_HAND_FIX}"
    )
    raise LaunchError(msg)


def _first(env: Env, names: Names, otherwise: int) -> int:
    return _read_int(env, *names) if any(name in env for name in names) else otherwise


def _read_local_world(env: Env, names: Names) -> int:
    """Ranks on this node, told as a number or in SLURM's form."""
    name = next((name for name in names if name in env), None)
    if name is None:
        return _read_int(env, *names)
    tasks = expand_tasks_per_node(env[name], name)
    if len(set(tasks)) > 1:
        msg = f"{name}: tasks per node are {tasks}; expected the same number on every node. Give --ntasks-per-node."
        raise LaunchError(msg)
    return tasks[0]


def _first_host(env: Env, names: Names, nodes: int) -> str:
    """Host of rank 0 where the launcher tells it; loopback if all ranks are here; else empty."""
    listed = next((env[name] for name in names if env.get(name)), "")
    return first_host(listed) if listed else "127.0.0.1" if nodes == 1 else ""


def _why(env: Env, launcher: str) -> str:
    signs = (LAUNCHER_VARIABLE, *(name for one, names in SIGNS if one == launcher for name in names))
    found = dict.fromkeys(name for name in (*signs, *VARIABLES[launcher].all_names()) if name in env)
    return ", ".join(f"{name}={env[name]}" for name in found)


def _derived_port(launch_id: str) -> int:
    """Derive a port that all ranks of one launch find alike and other launches rarely share."""
    return _PORT_BASE + zlib.crc32(launch_id.encode()) % _PORT_SPAN if launch_id else DEFAULT_PORT
