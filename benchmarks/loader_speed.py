"""Patterns per second of the loaders against a plain sequential h5py read of the same rows.

Run ``python -m benchmarks.loader_speed``. The file is what ``ptycho-dist simulate`` writes: in spatial order (or
``--order as_measured``), in compressed chunks of several patterns. Plain is one thread that reads the rows 64 at a time
in file order, as they are stored; the loaders read them in the order of prediction and of training (whose groups are
found anew in each epoch, and counted), and check them. A training keeps the chunks that it read last; its first epoch,
of a scan opened anew, has none.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the compression filters)
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from benchmarks.common import ptycho_dist, write_results
from ptycho_dist.config.command_settings import ORDERS
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.schema import DataConfig, TrainingConfig
from ptycho_dist.data.batches import PatternBatches
from ptycho_dist.data.datamodule import ScanDataModule
from ptycho_dist.data.grouping import canonical_order
from ptycho_dist.data.scan import Scan, open_scan
from ptycho_dist.types import IntArray
from tests.support.ranks import rank_context

AIMS = {"prediction": 0.8, "training": 0.7}
_ROWS = 64


def plain(path: Path) -> int:
    """Read all patterns in order with h5py alone."""
    with h5py.File(path, "r") as file:
        patterns: Any = file["patterns"]
        for start in range(0, len(patterns), _ROWS):
            patterns[start : start + _ROWS]
        return len(patterns)


def prediction(scan: Scan, order: IntArray) -> int:
    """Read all patterns as prediction does, in an order that it finds once."""
    batches = PatternBatches(scan, order, _ROWS)
    return sum(len(rows) for _, rows in DataLoader(batches, batch_size=None, shuffle=False))


def training(scan: Scan) -> int:
    """Read all patterns as an epoch of training does."""
    path = scan.header.path
    configs = (DataConfig(N=scan.header.N), TrainingConfig(train_data_file=path, output_dir=path.parent, batch_size=8))
    module = ScanDataModule(scan, (*configs, PyTorchExecutionConfig()), rank_context(0, 1), scan.header.mean_counts)
    return sum(batch.n_patterns for batch in module.train_dataloader())


def first_epoch(path: Path) -> int:
    """Open a scan, and read it as the first epoch of a training does."""
    with open_scan(path) as scan:
        return training(scan)


def best_speed(read: Callable[[], int], repeats: int) -> float:
    """Patterns per second of the fastest of some repeats."""
    speeds = []
    for _ in range(repeats):
        began = time.perf_counter()
        speeds.append(read() / (time.perf_counter() - began))
    return max(speeds)


def main() -> int:
    """Measure; 1 where an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--patterns", type=int, default=4000, help="patterns of the simulated scan")
    parser.add_argument("--side", type=int, default=64, help="detector pixels along a side")
    parser.add_argument("--repeats", type=int, default=5, help="readings of each kind; the fastest counts")
    parser.add_argument("--order", choices=ORDERS, default=ORDERS[0], help="order in which patterns are stored")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "scan.h5"
        size = ("--n_patterns", str(arguments.patterns), "--N", str(arguments.side), "--order", arguments.order)
        ptycho_dist("simulate", str(path), *size)
        with open_scan(path) as scan:
            order = canonical_order(scan.positions_px)
            ways: dict[str, Callable[[], int]] = {
                "plain h5py": lambda: plain(path),
                "prediction": lambda: prediction(scan, order),
                "training, first epoch": lambda: first_epoch(path),
                "training": lambda: training(scan),
            }
            speeds = {way: best_speed(read, arguments.repeats) for way, read in ways.items()}
    ratios = {way: speed / speeds["plain h5py"] for way, speed in speeds.items()}
    table = Table("", "patterns/s", "ratio", title="Loaders against a plain read")
    for way, speed in speeds.items():
        table.add_row(way, f"{speed:.0f}", f"{ratios[way]:.2f}")
    Console().print(table)
    results = {"n_patterns": arguments.patterns, "N": arguments.side, "patterns_per_s": speeds, "ratios": ratios}
    sys.stdout.write(f"written to {write_results('loader_speed', results)}\n")
    return int(any(ratios[way] < aim for way, aim in AIMS.items()))


if __name__ == "__main__":
    sys.exit(main())
