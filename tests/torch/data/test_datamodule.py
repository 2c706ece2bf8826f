"""Tensors of a training step and of a prediction batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.schema import DataConfig, TrainingConfig
from ptycho_dist.data.batches import PatternBatches
from ptycho_dist.data.datamodule import ScanDataModule, StepBatch, StepDataset, read_groups, stack_canvases
from ptycho_dist.data.sampler import StepShare
from ptycho_dist.data.scan import Scan
from ptycho_dist.data.scan_set import ScanSet
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.physics.patches import PatchGeometry
from tests.support.ranks import rank_context


def module(scan: Scan, place: RankContext | None = None, **execution: Any) -> ScanDataModule:
    training = TrainingConfig(train_data_file=Path("x"), output_dir=Path("y"), batch_size=2, val_fraction=0.2)
    data = DataConfig(N=32, group_size=4)
    return ScanDataModule(
        scan,
        (data, training, PyTorchExecutionConfig(**execution)),
        place or rank_context(0, 1),
        scan.header.mean_counts,
    )


def same(one: StepBatch, other: StepBatch) -> bool:
    (first,), (second,) = one.parts, other.parts
    pairs = [*zip(first[1:-1], second[1:-1], strict=True), *zip(one[1:], other[1:], strict=True)]
    travels_alike = str(list(first.propagation)) == str(list(second.propagation))
    return travels_alike and all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def test_stack_canvases_keeps_differences_within_a_group_and_parts_groups() -> None:
    groups = [np.array([[3.25, 7.5], [5.0, 9.0]]), np.array([[-40.5, 100.0], [-38.0, 103.75], [-40.0, 101.0]])]
    corners, canvas = stack_canvases(groups, 8)
    assert np.allclose(np.diff(corners[:2], axis=0), np.diff(groups[0], axis=0))
    assert np.allclose(np.diff(corners[2:], axis=0), np.diff(groups[1], axis=0))
    assert np.allclose(corners % 1, np.concatenate(groups) % 1)
    touched = [
        set(PatchGeometry.build(torch.from_numpy(part), 8, canvas).index.tolist())
        for part in (corners[:2], corners[2:])
    ]
    assert not touched[0] & touched[1]
    assert canvas[0] % 2 == 0


@pytest.mark.parametrize("seed", range(5))
def test_stack_canvases_fit_any_group(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [rng.uniform(-50, 50, (rng.integers(1, 6), 2)) for _ in range(4)] + [np.array([[3.0, 4.0]])]
    corners, canvas = stack_canvases(groups, 8)
    PatchGeometry.build(torch.from_numpy(corners), 8, canvas)


def test_dataset_reads_the_rows_of_a_share_and_scales_counts(tiny_scan: Scan) -> None:
    groups = (np.array([4, 2]), np.array([9]))
    photons = 2.5 * tiny_scan.header.mean_counts
    step = StepDataset(ScanSet.of_one(tiny_scan), photons)[StepShare(((0, groups),), 1.0, 7, 7)]
    (batch,) = step.parts
    assert torch.equal(batch.photons, torch.from_numpy(tiny_scan.read_patterns(np.array([4, 2, 9])) * np.float32(2.5)))
    assert (batch.photons.dtype, batch.corners_px.dtype) == (torch.float32, torch.float64)
    assert (float(step.weight), float(step.n_patterns_global), step.n_patterns) == (1.0, 7.0, 3)
    assert torch.equal(read_groups(tiny_scan, groups, 1.0).photons * 2.5, batch.photons)


def test_workers_give_the_same_batches_in_the_same_order(tiny_scan: Scan) -> None:
    alone = list(module(tiny_scan).train_dataloader())
    helped = list(module(tiny_scan, num_workers=2, prefetch_factor=1).train_dataloader())
    assert len(alone) == len(helped) > 1
    assert all(same(one, other) for one, other in zip(alone, helped, strict=True))


def test_ranks_share_the_patterns_of_each_step(tiny_scan: Scan) -> None:
    whole = list(module(tiny_scan).train_dataloader())
    parts = [list(module(tiny_scan, rank_context(rank, 2)).train_dataloader()) for rank in (0, 1)]
    for step, (first, second) in zip(whole, zip(*parts, strict=True), strict=True):
        counts = [batch.parts[0].counts for batch in (first, second) if batch.weight]
        assert torch.equal(torch.cat(counts), step.parts[0].counts)


def test_validation_loader_holds_the_held_back_patterns(tiny_scan: Scan) -> None:
    data = module(tiny_scan)
    total = sum(batch.n_patterns for batch in data.val_dataloader())
    assert total == len(data.split.validation) > 0


def test_pattern_batches_pad_the_last_one_with_zeros(tiny_scan: Scan) -> None:
    order = np.array([5, 1, 24, 7, 0])
    batches = list(PatternBatches(tiny_scan, order, 3))
    assert [rows.tolist() for _, rows in batches] == [[5, 1, 24], [7, 0]]
    assert all(counts.shape == (3, 32, 32) for counts, _ in batches)
    assert torch.equal(batches[1][0][:2].float(), torch.from_numpy(tiny_scan.read_patterns(order[3:])))
    assert batches[1][0][2].float().abs().max() == 0
    with pytest.raises(IndexError):
        PatternBatches(tiny_scan, order, 3)[2]
