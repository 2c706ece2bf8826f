"""Sums over ranks that have rectangles of a canvas, in real processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from ptycho_dist.distributed.overlaps import Overlaps
from ptycho_dist.types import Canvas
from tests.support.ranks import rank_context

CORNERS = [(0.0, 0.0), (3.0, 2.0), (6.0, 0.0), (20.0, 20.0), (0.0, 0.0)]
SHAPES = [(7, 9), (6, 5), (4, 12), (3, 3), (0, 0)]
RECTANGLES = [Canvas(corner, shape) for corner, shape in zip(CORNERS, SHAPES, strict=True)]


def own_sums(rank: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(rank).integers(-(2**60), 2**60, (2, *SHAPES[rank])))


def work_of(rank: int, folder: str, world: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    overlaps, sums = Overlaps.of(RECTANGLES[rank], rank_context(rank, world)), own_sums(rank)
    overlaps.add(sums)
    np.savez(f"{folder}/{rank}.npz", sums=sums.numpy(), partners=sorted(overlaps.parts))
    dist.destroy_process_group()


@pytest.mark.parametrize("world", [2, 5])
def test_every_pixel_has_the_sum_of_all_ranks_that_have_it(tmp_path: Path, world: int) -> None:
    mp.spawn(work_of, (str(tmp_path), world), nprocs=world)
    whole = np.zeros((2, 40, 40), np.int64)
    places = [
        (slice(None), *(slice(int(start), int(start) + size) for start, size in zip(corner, shape, strict=True)))
        for corner, shape in zip(CORNERS, SHAPES, strict=True)
    ]
    for rank in range(world):
        whole[places[rank]] += own_sums(rank).numpy()
    partners = [[1, 2], [0, 2], [0, 1], [], []]
    for rank in range(world):
        found = np.load(tmp_path / f"{rank}.npz")
        assert np.array_equal(found["sums"], whole[places[rank]])
        assert found["partners"].tolist() == [other for other in partners[rank] if other < world]


def test_one_rank_alone_keeps_its_sums() -> None:
    sums = own_sums(0)
    Overlaps.of(RECTANGLES[0], rank_context(0, 1)).add(sums)
    assert torch.equal(sums, own_sums(0))
