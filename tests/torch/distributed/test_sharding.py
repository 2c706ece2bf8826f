"""Tests of shard arithmetic."""

from __future__ import annotations

import pytest

from ptycho_dist.distributed.sharding import local_slice, owner, shard, shards
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


def test_owner_agrees_with_shards() -> None:
    for n, world in [(1, 1), (5, 4), (17, 3), (3, 7)]:
        for part in shards(n, world):
            assert all(owner(n, world, i) == part.rank for i in range(part.start, part.stop))


@pytest.mark.parametrize(("n", "rank", "world"), [(-1, 0, 1), (5, 2, 2), (5, -1, 2), (5, 0, 0)])
def test_shard_refuses_when_numbers_are_out_of_range(n: int, rank: int, world: int) -> None:
    with pytest.raises(ShardError, match=f"shard {rank} of {world} over {n} items"):
        shard(n, rank, world)


def test_owner_refuses_when_index_is_outside() -> None:
    with pytest.raises(ShardError, match="item 5 of 5"):
        owner(5, 2, 5)
