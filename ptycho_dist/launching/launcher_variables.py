"""What each launcher sets: variables that prove it, and those in which it tells a rank its place."""

from __future__ import annotations

from dataclasses import dataclass

Names = tuple[str, ...]

LAUNCHER_VARIABLE = "PTYCHO_DIST_LAUNCHER"
"""Names a launcher and then decides."""
LAUNCH_ID_VARIABLE = "PTYCHO_DIST_LAUNCH_ID"
"""Number of one launch of our supervisor."""

SIGNS: tuple[tuple[str, Names], ...] = (
    ("torchrun", ("TORCHELASTIC_RUN_ID",)),
    ("mpi", ("OMPI_COMM_WORLD_RANK",)),  # Open MPI
    ("mpi", ("PALS_RANKID", "PMI_SIZE")),  # mpiexec of HPE Cray (PALS), under PBS
    ("mpi", ("PMI_RANK", "MPI_LOCALRANKID")),  # Hydra of MPICH and Intel MPI; it may start its helpers through srun
    ("slurm", ("SLURM_STEP_ID", "SLURM_PROCID")),  # srun, also with --mpi=pmi2; a batch script has no step
    ("mpi", ("PMI_RANK",)),  # others that speak PMI
)
"""Launchers and the variables that prove them; the inner one of nested launchers comes first."""

STRANGERS: tuple[tuple[str, str, str], ...] = (
    ("jsrun", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE"),
    ("flux run", "FLUX_TASK_RANK", "FLUX_JOB_SIZE"),
    ("mpirun_rsh of MVAPICH2", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("mpiexec of PALS", "PALS_RANKID", "PALS_SIZE"),
    ("aprun", "ALPS_APP_PE", "ALPS_APP_SIZE"),
    ("poe", "MP_CHILD", "MP_PROCS"),
    ("prun of PMIx", "PMIX_RANK", "PMIX_SIZE"),
    ("a launcher that speaks PMI", "PMI_ID", "PMI_SIZE"),
    ("Hydra", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
)
"""Launchers whose ranks are not recognised, the variable that proves one, and that of their number."""
BY_HAND = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What to set for each rank, with PTYCHO_DIST_LAUNCHER=torchrun, where a launcher is not recognised."""

INTERACTIVE_STEP = "4294967290"
"""SLURM_STEP_ID of the shell that salloc opens on a compute node: no rank of a launch."""


@dataclass(frozen=True, kw_only=True)
class Variables:
    """In which variables a launcher tells a rank its place; of several names the first that is set counts.

    Nodes that it does not tell follow from ranks in block order. ``launch`` are
    those that all ranks of one launch share and those of another do not.
    """

    rank: Names
    world: Names
    local_rank: Names
    local_world: Names
    node_rank: Names = ()
    nodes: Names = ()
    hosts: Names = ()
    launch: Names = ()

    def all_names(self) -> Names:
        """Every name, for messages that say where numbers were read."""
        return (*self.rank, *self.world, *self.local_rank, *self.local_world, *self.node_rank, *self.nodes)


TORCH_STYLE = Variables(
    rank=("RANK",),
    world=("WORLD_SIZE",),
    local_rank=("LOCAL_RANK",),
    local_world=("LOCAL_WORLD_SIZE",),
    node_rank=("GROUP_RANK", "NODE_RANK"),
    nodes=("GROUP_WORLD_SIZE",),
    launch=("TORCHELASTIC_RUN_ID", LAUNCH_ID_VARIABLE),
)
VARIABLES: dict[str, Variables] = {
    "torchrun": TORCH_STYLE,
    "spawn": TORCH_STYLE,
    "slurm": Variables(
        rank=("SLURM_PROCID",),
        world=("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
        local_rank=("SLURM_LOCALID",),
        local_world=("SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"),
        node_rank=("SLURM_NODEID",),
        nodes=("SLURM_STEP_NUM_NODES", "SLURM_NNODES"),
        hosts=("SLURM_STEP_NODELIST", "SLURM_NODELIST"),
        launch=("SLURM_JOB_ID", "SLURM_STEP_ID"),
    ),
    "mpi": Variables(
        rank=("OMPI_COMM_WORLD_RANK", "PALS_RANKID", "PMI_RANK"),
        world=("OMPI_COMM_WORLD_SIZE", "PMI_SIZE"),
        local_rank=("OMPI_COMM_WORLD_LOCAL_RANK", "PALS_LOCAL_RANKID", "MPI_LOCALRANKID", "PMI_LOCAL_RANK"),
        local_world=("OMPI_COMM_WORLD_LOCAL_SIZE", "PALS_LOCAL_SIZE", "MPI_LOCALNRANKS", "PMI_LOCAL_SIZE"),
        launch=("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "PALS_APID", "I_MPI_HYDRA_UUID"),
    ),
}
LAUNCHERS = (*VARIABLES, "plain")
