"""Places of ranks for tests in one process."""

from __future__ import annotations

from dataclasses import replace

from ptycho_dist.launching.environment import RankContext, single_rank


def rank_context(rank: int, world: int) -> RankContext:
    """Place of one of several ranks of this host."""
    return replace(single_rank(), rank=rank, world=world, local_rank=rank, local_world=world)
