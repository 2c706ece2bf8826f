"""The order of patterns: complete, balanced between ranks, and a pure function of seed and iteration."""

from __future__ import annotations

import numpy as np
import pytest

from ptycho_dist.distributed.sharding import shard
from ptycho_dist.refine.batching import batches


@pytest.mark.parametrize(("n_patterns", "batch_size"), [(1, 1), (5, 8), (8, 8), (100, 7), (516, 8), (33, 64)])
def test_batches_hold_every_pattern_once(n_patterns: int, batch_size: int) -> None:
    found = batches(n_patterns, batch_size, 0, 3)
    assert sorted(np.concatenate(found).tolist()) == list(range(n_patterns))
    assert max(len(one) for one in found) <= batch_size
    assert all((np.diff(one) > 0).all() for one in found)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_batches_give_ranks_equal_work(world: int) -> None:
    for one in batches(512, 8, 1, 0):
        shares = [shard(512, rank, world) for rank in range(world)]
        assert [int(((one >= s.start) & (one < s.stop)).sum()) for s in shares] == [8 // world] * world


def test_batches_depend_on_seed_and_iteration_only() -> None:
    same = [batches(40, 4, 2, 5) for _ in range(2)]
    assert all((a == b).all() for a, b in zip(*same, strict=True))
    assert any((a != b).any() for a, b in zip(same[0], batches(40, 4, 2, 6), strict=True))
    assert any((a != b).any() for a, b in zip(same[0], batches(40, 4, 3, 5), strict=True))


def test_patterns_of_a_batch_lie_apart_in_the_scan() -> None:
    for one in batches(800, 8, 0, 0):
        assert (one // 100).tolist() == list(range(8))
