"""Pure arithmetic of shards: who owns which part of a canonical list."""

from __future__ import annotations

from ptycho_dist.errors import ShardError
from ptycho_dist.types import Shard


def shard(n: int, rank: int, world: int) -> Shard:
    """Contiguous share of ``rank`` in a list of ``n`` items.

    The shares of all ranks cover the list exactly once; their sizes differ by
    at most one, the longer ones first; with more ranks than items some are empty.

    Parameters
    ----------
    n
        Items in the canonical list, at least 0.
    rank, world
        ``0 <= rank < world``.

    Raises
    ------
    ShardError
        If an argument is out of range.
    """
    if n < 0 or world < 1 or not 0 <= rank < world:
        msg = f"shard {rank} of {world} over {n} items; expected n >= 0, 0 <= rank < world. Fix the numbers."
        raise ShardError(msg)
    size, longer = divmod(n, world)
    start = rank * size + min(rank, longer)
    return Shard(rank, world, start, start + size + (1 if rank < longer else 0))


def shards(n: int, world: int) -> tuple[Shard, ...]:
    """Shares of all ranks, in order; see :func:`shard`."""
    return tuple(shard(n, rank, world) for rank in range(world))


def local_slice(part: Shard) -> slice:
    """Slice that cuts a shard out of the canonical list."""
    return slice(part.start, part.stop)
