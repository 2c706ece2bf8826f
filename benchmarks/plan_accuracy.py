"""How near `ptycho-dist plan` comes to real runs.

Run ``python -m benchmarks.plan_accuracy``: it plans a job, runs it, and prints
both with their ratio; the aim is a ratio between 1 / 1.5 and 1.5.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.common import ptycho_dist, write_results

AIM = 1.5


@dataclass(frozen=True)
class Comparison:
    """A quantity as planned and as it was, in seconds."""

    ranks: int
    quantity: str
    planned_s: float
    real_s: float

    @property
    def ratio(self) -> float:
        """Planned over real."""
        return self.planned_s / self.real_s


def compare(scan: Path, folder: Path, ranks: int, row: dict[str, float], settings: list[str]) -> list[Comparison]:
    """Run what was planned on so many ranks."""
    output = folder / f"ranks-{ranks}"
    ptycho_dist("reconstruct", str(scan), "--output_dir", str(output), "--devices", str(ranks), *settings)
    real = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    both = [Comparison(ranks, name, row[f"{name}_s"], real[f"{name}_s"]) for name in ("training", "prediction")]
    total = real["training_s"] + real["prediction_s"] + real["stitching_s"]
    return [*both, Comparison(ranks, "total", row["total_s"], total)]


def table(comparisons: list[Comparison]) -> Table:
    """Lay the comparisons out."""
    result = Table("ranks", "quantity", "planned s", "real s", "ratio", title="Accuracy of the plan")
    for one in comparisons:
        result.add_row(str(one.ranks), one.quantity, f"{one.planned_s:.1f}", f"{one.real_s:.1f}", f"{one.ratio:.2f}")
    return result


def main() -> int:
    """Simulate, plan, run, report; 1 where a total misses the aim."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2], help="numbers of ranks to run")
    parser.add_argument("--epochs", type=int, default=15, help="epochs of each training")
    parser.add_argument("--patterns", type=int, default=600, help="patterns of the simulated scan")
    arguments = parser.parse_args()
    settings = ["--accelerator", "cpu", "--max_epochs", str(arguments.epochs)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = folder / "scan.h5"
        ptycho_dist("simulate", str(scan), "--n_patterns", str(arguments.patterns))
        listed = ",".join(map(str, arguments.ranks))
        planned = json.loads(ptycho_dist("plan", str(scan), "--ranks", listed, "--json", *settings))
        rows = {row["ranks"]: row for row in planned["rows"]}
        found = [one for ranks in arguments.ranks for one in compare(scan, folder, ranks, rows[ranks], settings)]
    Console().print(table(found))
    written = write_results("plan_accuracy", {"comparisons": [asdict(one) | {"ratio": one.ratio} for one in found]})
    sys.stdout.write(f"written to {written}\n")
    return int(any(not 1 / AIM < one.ratio < AIM for one in found if one.quantity == "total"))


if __name__ == "__main__":
    sys.exit(main())
