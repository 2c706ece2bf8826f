"""Training speed of one rank and of several, on a simulated scan.

Run ``python -m benchmarks.training_speed``; the ranks are real processes, as
``ptycho-dist train --devices R`` starts them, each with one thread.
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


@dataclass(frozen=True)
class Measurement:
    """Speed of a training.

    Parameters
    ----------
    ranks
        Processes.
    patterns_per_s
        Median over the epochs but the first, all ranks together.
    """

    ranks: int
    patterns_per_s: float


def measure(scan: Path, folder: Path, ranks: int, epochs: int) -> Measurement:
    """Train for some epochs on so many ranks, and read the speed from the metric log."""
    output = folder / f"ranks-{ranks}"
    ptycho_dist(
        "train", str(scan), "--output_dir", str(output), "--accelerator", "cpu", "--devices", str(ranks),
        "--max_epochs", str(epochs), "--logger_backend", "csv",
    )  # fmt: skip
    with (output / "logs" / "metrics.csv").open(newline="", encoding="utf-8") as stream:
        speeds = [float(row["patterns_per_s"]) for row in csv.DictReader(stream) if row["patterns_per_s"]]
    return Measurement(ranks, median(speeds[1:]))


def table(measurements: list[Measurement]) -> Table:
    """Lay the measurements out, each against the first."""
    result = Table("ranks", "patterns/s", "ratio", title="Training speed")
    for one in measurements:
        ratio = one.patterns_per_s / measurements[0].patterns_per_s
        result.add_row(str(one.ranks), f"{one.patterns_per_s:.1f}", f"{ratio:.2f}")
    return result


def write(measurements: list[Measurement], n_patterns: int) -> Path:
    """Write the measurements, each against the first."""
    first = measurements[0].patterns_per_s
    ratios = [asdict(one) | {"ratio": one.patterns_per_s / first} for one in measurements]
    return write_results("training_speed", {"n_patterns": n_patterns, "measurements": ratios})


def main() -> None:
    """Simulate, train with each number of ranks, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2], help="numbers of ranks to compare")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of each training; the first is not counted")
    parser.add_argument("--patterns", type=int, default=500, help="patterns of the simulated scan")
    arguments = parser.parse_args()
    if arguments.epochs < 2:
        parser.error("--epochs must be at least 2: the first epoch is not counted")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = folder / "scan.h5"
        ptycho_dist("simulate", str(scan), "--n_patterns", str(arguments.patterns))
        measurements = [measure(scan, folder, ranks, arguments.epochs) for ranks in arguments.ranks]
    Console().print(table(measurements))
    sys.stdout.write(f"written to {write(measurements, arguments.patterns)}\n")


if __name__ == "__main__":
    main()
