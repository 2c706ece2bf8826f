"""Training speed of one rank and of several, on a simulated scan.

Run ``python -m benchmarks.training_speed``; the ranks are real processes, as
``ptycho-dist train --devices R`` starts them, each with one thread. Each batch
size (groups of 8 patterns in a global step) is a comparison of its own: the
share of a rank in a step must be worth its messages. The exit code is 1 where
two ranks do not reach the aim with the largest batch.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.common import ptycho_dist, write_results

AIM = 1.8


@dataclass(frozen=True)
class Measurement:
    """Speed of a training.

    Parameters
    ----------
    batch_size, ranks
        Groups in a global step, and processes.
    patterns_per_s
        Median over the epochs but the first, all ranks together.
    """

    batch_size: int
    ranks: int
    patterns_per_s: float


def measure(scan: Path, folder: Path, batch_size: int, ranks: int, epochs: int) -> Measurement:
    """Train for some epochs on so many ranks, and read the speed from the metric log."""
    output = folder / f"batch-{batch_size}-ranks-{ranks}"
    ptycho_dist(
        "train", str(scan), "--output_dir", str(output), "--accelerator", "cpu", "--devices", str(ranks),
        "--batch_size", str(batch_size), "--max_epochs", str(epochs), "--logger_backend", "csv",
    )  # fmt: skip
    with (output / "logs" / "metrics.csv").open(newline="", encoding="utf-8") as stream:
        speeds = [float(row["patterns_per_s"]) for row in csv.DictReader(stream) if row["patterns_per_s"]]
    return Measurement(batch_size, ranks, median(speeds[1:]))


def ratio(one: Measurement, all_of_them: list[Measurement]) -> float:
    """Speed against the first measurement with that batch size."""
    first = next(other for other in all_of_them if other.batch_size == one.batch_size)
    return one.patterns_per_s / first.patterns_per_s


def table(measurements: list[Measurement]) -> Table:
    """Lay the measurements out."""
    result = Table("groups in a step", "ranks", "patterns/s", "ratio", title="Training speed")
    for one in measurements:
        speed = f"{one.patterns_per_s:.1f}"
        result.add_row(str(one.batch_size), str(one.ranks), speed, f"{ratio(one, measurements):.2f}")
    return result


def main() -> int:
    """Simulate, train with each number of ranks, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2], help="numbers of ranks to compare")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[2, 32], help="groups in a global step")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of each training; the first is not counted")
    parser.add_argument("--patterns", type=int, default=1024, help="patterns of the simulated scan")
    arguments = parser.parse_args()
    if arguments.epochs < 2:
        parser.error("--epochs must be at least 2: the first epoch is not counted")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = folder / "scan.h5"
        ptycho_dist("simulate", str(scan), "--n_patterns", str(arguments.patterns))
        measurements = [
            measure(scan, folder, batch_size, ranks, arguments.epochs)
            for batch_size in arguments.batch_sizes
            for ranks in arguments.ranks
        ]
    Console().print(table(measurements))
    rows = [asdict(one) | {"ratio": ratio(one, measurements)} for one in measurements]
    path = write_results("training_speed", {"n_patterns": arguments.patterns, "measurements": rows})
    sys.stdout.write(f"written to {path}\n")
    of_two = [row["ratio"] for row in rows if row["ranks"] == 2]
    return int(bool(of_two) and of_two[-1] < AIM)


if __name__ == "__main__":
    sys.exit(main())
