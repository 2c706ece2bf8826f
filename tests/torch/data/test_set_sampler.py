"""The order of training on a set depends on seed and epoch only; nothing is dropped, repeated or mixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.schema import DataConfig, TrainingConfig
from ptycho_dist.data.datamodule import ScanDataModule, StepDataset
from ptycho_dist.data.sampler import Chosen, Layout, StepSampler, StepShare, split_scans
from ptycho_dist.data.scan_set import ScanSet, open_set
from ptycho_dist.errors import ConfigError
from tests.support.ranks import rank_context
from tests.support.scans import make_scan
from tests.support.sets import write_set

SIZES = (12, 7, 19, 3)
Step = list[tuple[int, ...]]


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> ScanSet:
    made = [make_scan(n_patterns=size, seed=size, photons=10.0**size if size < 5 else 1e4) for size in SIZES]
    return open_set(write_set(tmp_path_factory.mktemp("set"), *made))


def configs(gridsize: int | None = None, **training: Any) -> tuple[DataConfig, TrainingConfig]:
    files: dict[str, Any] = {"train_data_file": Path("x"), "output_dir": Path("y")}
    return DataConfig(N=16, group_size=4, gridsize=gridsize), TrainingConfig(**({"batch_size": 3} | files | training))


def epoch_shares(scans: ScanSet, rank: int, world: int, epoch: int = 0, **changes: Any) -> list[StepShare]:
    chosen, start = Chosen(np.arange(len(scans)), np.array(SIZES)), changes.pop("start", (0, 0))
    sampler = StepSampler(
        lambda number: Layout(scans.scan(number).positions_px, 0.0),
        chosen,
        configs(**changes),
        rank_context(rank, world),
        shuffle=True,
        start=start,
    )
    sampler.set_epoch(epoch)
    shares = list(sampler)
    done = start[1] if start[0] == epoch else 0
    assert len(shares) == len(sampler) - done
    return shares


def global_epoch(scans: ScanSet, world: int, epoch: int = 0, **changes: Any) -> list[Step]:
    """Collect the groups of every step, as all ranks together have them; each starts with the number of its scan."""
    ranks = [epoch_shares(scans, rank, world, epoch, **changes) for rank in range(world)]
    return [
        sorted(
            (number, *group)
            for share in shares
            if share.weight
            for number, groups in share.parts
            for group in groups
        )
        for shares in zip(*ranks, strict=True)
    ]  # fmt: skip


@pytest.mark.parametrize("gridsize", [None, 1])
def test_global_batches_on_a_set_are_the_same_for_any_number_of_ranks(scans: ScanSet, gridsize: int | None) -> None:
    for epoch in (0, 3):
        alone = global_epoch(scans, 1, epoch, gridsize=gridsize)
        for world in (2, 3, 5):
            assert global_epoch(scans, world, epoch, gridsize=gridsize) == alone


@pytest.mark.parametrize("world", [1, 2, 5])
def test_every_pattern_of_every_scan_is_seen_exactly_once(scans: ScanSet, world: int) -> None:
    for epoch in range(3):
        groups = [group for step in global_epoch(scans, world, epoch) for group in step]
        for number, size in enumerate(SIZES):
            assert sorted(row for group in groups if group[0] == number for row in group[1:]) == list(range(size))


def test_steps_mix_scans_but_groups_do_not(scans: ScanSet) -> None:
    steps = global_epoch(scans, 1)
    assert any(len({group[0] for group in step}) > 1 for step in steps)
    assert all(len(group) <= 5 for step in steps for group in step)


def test_shares_on_a_set_know_the_patterns_of_the_whole_step(scans: ScanSet) -> None:
    for shares in zip(*(epoch_shares(scans, rank, 3) for rank in range(3)), strict=True):
        total = sum(len(group) for share in shares if share.weight for _, groups in share.parts for group in groups)
        assert {share.n_patterns_global for share in shares} == {total}


def test_epochs_and_seeds_of_a_set_differ_and_can_be_had_again(scans: ScanSet) -> None:
    assert global_epoch(scans, 1, 3) == global_epoch(scans, 1, 3)
    assert global_epoch(scans, 1, 3) != global_epoch(scans, 1, 4)
    assert global_epoch(scans, 1, 3, seed=1) != global_epoch(scans, 1, 3)


def test_set_resumes_in_mid_epoch(scans: ScanSet) -> None:
    whole = global_epoch(scans, 2, 1)
    assert global_epoch(scans, 1, 1, start=(1, 2)) == whole[2:]
    assert global_epoch(scans, 1, 2, start=(1, 2)) == global_epoch(scans, 1, 2)


def test_whole_scans_are_held_back_for_validation(scans: ScanSet) -> None:
    split = split_scans(4, configs(val_fraction=0.3)[1])
    assert (len(split.train), len(split.validation)) == (2, 2)
    assert sorted([*split.train, *split.validation]) == [0, 1, 2, 3]
    assert {tuple(split_scans(4, configs(val_fraction=0.3, seed=seed)[1]).validation) for seed in range(9)} > {(0, 1)}
    module = ScanDataModule(scans, (*configs(val_fraction=0.3), PyTorchExecutionConfig()), rank_context(0, 1), 1e4)
    seen = sum(batch.n_patterns for batch in module.val_dataloader())
    assert seen == sum(SIZES[number] for number in module.split.validation)


def test_split_of_a_set_refuses_when_no_scan_is_left() -> None:
    with pytest.raises(ConfigError, match=r"val_fraction = 0\.9 leaves 0 of 2 scans"):
        split_scans(2, configs(val_fraction=0.9)[1])


def test_batch_of_a_set_holds_each_scan_with_its_probe_at_equal_photons(scans: ScanSet) -> None:
    share = StepShare(((3, (np.array([2, 0]),)), (1, (np.array([5]), np.array([1, 6])))), 1.0, 5, 5)
    batch = StepDataset(scans, 500.0)[share]
    assert [len(part.counts) for part in batch.parts] == [2, 3]
    for number, part in zip((3, 1), batch.parts, strict=True):
        scan = scans.scan(number)
        assert part.number == number
        assert part.probe is not None
        np.testing.assert_array_equal(part.probe.numpy(), scan.probe)
        rows = np.concatenate(dict(share.parts)[number])
        expected = scan.read_patterns(rows) * (500.0 / scan.header.mean_counts)
        np.testing.assert_allclose(part.photons.numpy(), expected, rtol=1e-6)
    assert (float(batch.weight), float(batch.n_patterns_global)) == (1.0, 5.0)


def test_workers_give_the_same_batches_of_a_set(scans: ScanSet) -> None:
    def loaded(**execution: Any) -> list[np.ndarray[Any, Any]]:
        module = ScanDataModule(scans, (*configs(), PyTorchExecutionConfig(**execution)), rank_context(0, 2), 1e4)
        return [part.counts.numpy() for batch in module.train_dataloader() for part in batch.parts]

    alone, helped = loaded(), loaded(num_workers=2)
    assert len(alone) == len(helped) > 4
    assert all(np.array_equal(one, other) for one, other in zip(alone, helped, strict=True))
