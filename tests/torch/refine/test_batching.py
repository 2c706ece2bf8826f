"""The order of patterns: complete, balanced between ranks, apart, and a pure function of start, seed and iteration."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ptycho_dist.distributed.sharding import shard
from ptycho_dist.physics.windows import Windows
from ptycho_dist.refine.batching import LEAST_TOGETHER, Batching, Overlap
from ptycho_dist.refine.exit_wave import Batch
from ptycho_dist.refine.lengths import Crowd, joint_length

N, WIDTH = 32, 6.0


def gaussian() -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(float(N)), torch.arange(float(N)), indexing="ij")
    return torch.exp(-((y - 16).square() + (x - 16).square()) / WIDTH**2)


OVERLAP = Overlap.of(gaussian())


def raster(n_patterns: int, step_px: float) -> NDArray[np.float64]:
    across = int(np.ceil(np.sqrt(n_patterns)))
    return np.stack(np.divmod(np.arange(n_patterns), across), axis=1) * step_px


def batching(n_patterns: int, size: int, seed: int = 0, step_px: float = 4.0) -> Batching:
    return Batching(raster(n_patterns, step_px), OVERLAP, size, seed)


def test_overlap_is_that_of_the_light() -> None:
    zero, moves = np.zeros(2), np.array([[0.0, 0.0], [3.0, 0.0], [0.0, -3.2], [20.0, 0.0], [0.0, 100.0]])
    expected = np.exp(-np.array([0, 9, 9, 400, 1e4]) / (2 * WIDTH**2))
    assert np.allclose(OVERLAP.between(zero, moves), expected, atol=5e-3)


@pytest.mark.parametrize(("n_patterns", "size"), [(1, 1), (5, 8), (8, 8), (100, 7), (516, 8), (33, 64)])
def test_batches_hold_every_pattern_once(n_patterns: int, size: int) -> None:
    found = [one.numbers for one in batching(n_patterns, size).of(3)]
    assert sorted(np.concatenate(found).tolist()) == list(range(n_patterns))
    assert max(len(one) for one in found) <= size
    assert all((np.diff(one) > 0).all() for one in found)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_batches_give_ranks_equal_work(world: int) -> None:
    shares = [shard(512, rank, world) for rank in range(world)]
    for one in batching(512, 8, 1).of(0):
        owned = [int(((one.numbers >= s.start) & (one.numbers < s.stop)).sum()) for s in shares]
        assert owned == [8 // world] * world


def test_batches_depend_on_seed_and_iteration_only() -> None:
    def drawn(seed: int, iteration: int) -> list[list[int]]:
        return [one.numbers.tolist() for one in batching(40, 4, seed).of(iteration)]

    assert drawn(2, 5) == drawn(2, 5)
    assert drawn(2, 5) != drawn(2, 6)
    assert drawn(2, 6) != drawn(3, 6)


def test_patterns_of_a_batch_lie_apart() -> None:
    one = batching(400, 8)
    random = np.random.default_rng(0)
    by_chance = np.mean([total_overlap(one, random.choice(400, 8, replace=False)) for _ in range(200)])
    assert one.crowding / 2 * 8 < 0.25 * by_chance


def total_overlap(one: Batching, numbers: NDArray[np.int64]) -> float:
    at = one.positions_px[numbers]
    return float((one.overlap.between(at[:, None], at).sum() - len(at)) / 2)


def test_crowding_is_the_overlap_of_all_pairs() -> None:
    one = batching(61, 6, step_px=2.0)
    for drawn in one.of(1):
        assert drawn.crowding == pytest.approx(total_overlap(one, drawn.numbers))


@pytest.mark.parametrize(
    ("step_px", "most", "size"), [(8.0, 8, 8), (8.0, 3, 3), (0.3, 8, LEAST_TOGETHER), (0.3, 2, 2), (0.3, 1, 1)]
)
def test_size_follows_from_the_scan(step_px: float, most: int, size: int) -> None:
    assert Batching.at_most(most, 0, raster(225, step_px), OVERLAP).size == size


def random_steps(count: int) -> torch.Tensor:
    return torch.randn(count, N, N, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("apart_px", [0.0, 2.4, 40.0])
@pytest.mark.parametrize("same", [True, False])
def test_steps_are_full_unless_they_ask_for_the_same(apart_px: float, same: bool) -> None:
    at = torch.tensor([[1.0, 1.0], [1.0, 1.0 + apart_px]], dtype=torch.float64)
    windows = Windows(at, N, (40, 90))
    steps = random_steps(2)
    if same:
        steps[1] = steps[0]
    crowd = Crowd(torch.zeros(40, 90, dtype=torch.complex128))
    batch = Batch(windows, slice(0, 2), windows, torch.zeros(2, N, N), is_crowded=True)
    share = crowd.lengthen(batch, steps).abs().sum() / steps.abs().sum()
    assert float(share) == pytest.approx(0.5 if same and apart_px == 0 else 1.0, abs=0.1)
    assert not crowd.scratch_HW.any()


def test_probe_steps_are_between_their_mean_and_their_sum() -> None:
    steps = random_steps(16)[:, None]
    own = torch.view_as_real(steps).square().sum()
    assert float(joint_length(own, steps.sum(dim=0), 16)) == pytest.approx(4.0, rel=0.05)
    same = steps[:1].expand(16, -1, -1, -1)
    own = torch.view_as_real(same.clone()).square().sum()
    assert float(joint_length(own, same.sum(dim=0), 16)) == pytest.approx(1.0)
