"""What a loader reads, hands over and keeps: its own rows, narrow integers, no memory and no files."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from ptycho_dist.bundle import load_bundle
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.schema import DataConfig, TrainingConfig
from ptycho_dist.data.batches import PatternBatches
from ptycho_dist.data.datamodule import ScanDataModule
from ptycho_dist.data.scan import Scan, open_scan
from ptycho_dist.data.scan_set import open_source
from ptycho_dist.launching.environment import RankContext, detect
from ptycho_dist.training.run import run_training
from tests.support.ranks import rank_context
from tests.support.runs import forget_launchers, training_payload
from tests.support.scans import make_scan, write_own
from tests.support.sets import simulate_small_set

EPOCHS = 50
MIB = 2**20


def module(scan: Scan, place: RankContext | None = None, **execution: Any) -> ScanDataModule:
    training = TrainingConfig(train_data_file=Path("x"), output_dir=Path("y"), batch_size=4)
    data = DataConfig(N=scan.header.N, group_size=4)
    return ScanDataModule(
        scan,
        (data, training, PyTorchExecutionConfig(**execution)),
        place or rank_context(0, 1),
        scan.header.mean_counts,
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.float32])
def test_counts_stay_narrow_integers_until_the_device(tmp_path: Path, dtype: type[np.generic]) -> None:
    made = make_scan()
    path = tmp_path / "s.h5"
    write_own(path, made)
    counts = np.minimum(made.counts, 200).astype(dtype)
    with h5py.File(path, "a") as file:
        del file["patterns"]
        file["patterns"] = counts
    narrow = dtype in (np.uint8, np.uint16)
    with open_scan(path) as scan:
        (step,) = module(scan).first_batch().parts
        predicted, rows = PatternBatches(scan, np.arange(12), 5)[2]
    expected = torch.from_numpy(counts[:0]).dtype if narrow else torch.float32
    assert step.counts.dtype == predicted.dtype == expected
    assert step.photons.dtype == torch.float32
    assert torch.equal(predicted[:2].float(), torch.from_numpy(counts[rows.numpy()].astype(np.float32)))


def test_rank_reads_its_own_rows_only(tiny_scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    real = tiny_scan.read_numbers
    monkeypatch.setattr(tiny_scan, "read_numbers", lambda rows: (read.extend(map(int, rows)), real(rows))[1])
    seen = []
    for rank in (0, 1):
        read.clear()
        loader = module(tiny_scan, rank_context(rank, 2)).train_dataloader()
        shares = [batch for batch in loader if batch.weight]
        assert sum(batch.n_patterns for batch in shares) <= len(read) < 25
        seen.append(set(read))
    assert seen[0] | seen[1] == set(range(25))


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, torch.Tensor]]:
    forget_launchers(monkeypatch)

    def run(source: Path, name: str, **overrides: Any) -> dict[str, torch.Tensor]:
        payload = training_payload(source, tmp_path / name, max_epochs=2, **overrides)
        with open_source(source) as opened:
            return load_bundle(run_training(payload, detect(os.environ), opened).bundle_path).state

    return run


@pytest.mark.parametrize("kind", ["scan", "set"])
def test_loader_processes_change_no_bit_of_a_training(
    trained: Callable[..., dict[str, torch.Tensor]], tiny_path: Path, tmp_path: Path, kind: str
) -> None:
    source = tiny_path if kind == "scan" else simulate_small_set(tmp_path / "set", 2)
    alone = trained(source, "alone")
    helped = trained(source, "helped", num_workers=2, persistent_workers=True, prefetch_factor=3)
    assert [name for name, value in alone.items() if not torch.equal(value, helped[name])] == []


def files_of(pid: int | str, path: Path) -> int:
    """Count the handles that a process holds of a file."""
    folder = Path("/proc") / str(pid) / "fd"
    return sum(one.is_symlink() and one.readlink() == path for one in folder.iterdir())


def test_each_loader_process_opens_the_file_for_itself(tiny_path: Path) -> None:
    with open_scan(tiny_path) as scan:
        scan.read_patterns(np.arange(2))
        assert files_of("self", tiny_path) == 1
        loader = module(scan, num_workers=2, persistent_workers=True).train_dataloader()
        batches = list(loader)
        offsets = [files_of(child.pid or 0, tiny_path) for child in multiprocessing.active_children()]
        assert len(batches) > 1
        assert len(offsets) == 2
        assert all(count >= 1 for count in offsets)
        del loader


def own_memory() -> float:
    """Resident memory of this process, in MiB."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


@pytest.mark.parametrize(
    "execution",
    [
        pytest.param({}, id="in the rank"),
        pytest.param({"num_workers": 1, "persistent_workers": True}, id="in a process that stays"),
        pytest.param({"num_workers": 1}, id="in a new process each epoch", marks=pytest.mark.slow),
    ],
)
def test_loader_leaks_neither_memory_nor_files_over_fifty_epochs(tiny_scan: Scan, execution: dict[str, Any]) -> None:
    """The scan is 100 kB; were its batches kept, 50 epochs of 16 readings each would hold 80 MiB."""
    loader = module(tiny_scan, **execution).train_dataloader()

    def epoch(number: int) -> None:
        for _ in range(16 if not execution else 1):
            loader.sampler.set_epoch(number)  # type: ignore[attr-defined]  # ours
            assert sum(batch.n_patterns for batch in loader) == 25

    for number in range(3):
        epoch(number)
    gc.collect()
    before, open_before = own_memory(), len(list(Path("/proc/self/fd").iterdir()))
    for number in range(EPOCHS):
        epoch(number)
    gc.collect()
    assert own_memory() - before < 16
    assert len(list(Path("/proc/self/fd").iterdir())) <= open_before + 2
