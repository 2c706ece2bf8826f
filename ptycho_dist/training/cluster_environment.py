"""Lightning's cluster environment of a launch; chosen from the context, never guessed a second time."""

from __future__ import annotations

from collections.abc import Callable

from lightning.pytorch.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    TorchElasticEnvironment,
)

from ptycho_dist.launching.environment import RankContext


class SupervisedEnvironment(LightningEnvironment):
    """Ranks of our own supervisor; their variables outlive the Trainer."""

    def teardown(self) -> None:
        """Leave the environment as the supervisor made it."""


class StartedRanks(ClusterEnvironment):
    """Ranks of mpirun or srun, as their context tells.

    Unlike Lightning's own classes this needs no mpi4py, and it accepts ``srun -n 2``.

    Parameters
    ----------
    context
        Place of this process among the ranks.
    """

    def __init__(self, context: RankContext) -> None:
        self._context = context

    @property
    def creates_processes_externally(self) -> bool:
        """True: the launcher has started all ranks."""
        return True

    @property
    def main_address(self) -> str:
        """Where rank 0 listens."""
        return self._context.main_address

    @property
    def main_port(self) -> int:
        """Port where rank 0 listens."""
        return self._context.main_port

    @staticmethod
    def detect() -> bool:
        """Return False: this environment is chosen, not found."""
        return False

    def world_size(self) -> int:
        """Return the number of ranks."""
        return self._context.world

    def set_world_size(self, size: int) -> None:
        """Do nothing: the launcher decides."""

    def global_rank(self) -> int:
        """Return the rank."""
        return self._context.rank

    def set_global_rank(self, rank: int) -> None:
        """Do nothing: the launcher decides."""

    def local_rank(self) -> int:
        """Return the rank on this node."""
        return self._context.local_rank

    def node_rank(self) -> int:
        """Return the index of this node."""
        return self._context.node_rank


_MAKERS: dict[str, Callable[[RankContext], ClusterEnvironment]] = {
    "plain": lambda _: LightningEnvironment(),
    "spawn": lambda _: SupervisedEnvironment(),
    "torchrun": lambda _: TorchElasticEnvironment(),
    "slurm": StartedRanks,
    "mpi": StartedRanks,
}


def cluster_environment(context: RankContext) -> ClusterEnvironment:
    """Cluster environment of the launcher that started this process."""
    return _MAKERS[context.launcher](context)
