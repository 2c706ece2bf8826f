"""Tests of shard arithmetic."""

from __future__ import annotations

import pytest

from ptycho_dist.distributed.sharding import local_slice, shard, shards
from ptycho_dist.errors import ShardError


def test_shards_cover_exactly_once_for_every_size_and_world() -> None:
    for n in range(60):
        items = list(range(n))
        for world in range(1, 20):
            parts = shards(n, world)
            assert [i for part in parts for i in items[local_slice(part)]] == items
            sizes = [len(part) for part in parts]
            assert max(sizes) - min(sizes) <= 1


def test_shard_gives_the_rank_its_own_share() -> None:
    assert [(p.start, p.stop) for p in shards(10, 4)] == [(0, 3), (3, 6), (6, 8), (8, 10)]
    assert shard(10, 2, 4) == shards(10, 4)[2]


@pytest.mark.parametrize(("n", "rank", "world"), [(-1, 0, 1), (5, 2, 2), (5, -1, 2), (5, 0, 0)])
def test_shard_refuses_when_numbers_are_out_of_range(n: int, rank: int, world: int) -> None:
    with pytest.raises(ShardError, match=f"shard {rank} of {world} over {n} items"):
        shard(n, rank, world)
