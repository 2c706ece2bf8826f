"""Quality on held-out scans against patterns seen, for global batches of 2 to 256 groups.

Run ``python -m benchmarks.batch_sizes``. It simulates a set of scans, of which a fifth is held back, and trains a small
network from scratch with each batch on the same number of patterns; the learning rate grows with the root of the
batch, by the rule of ``--batch_size_per_rank``. A batch has the same result on one rank as on many, so that one rank
shows what many give. What is finished is kept in ``--output_dir``: the same command goes on.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.common import ptycho_dist, write_results

BATCHES = (2, 8, 32, 128, 256)
_SCANS, _HELD_BACK, _PATTERNS, _GROUP = 20, 0.2, 256, 16
_GROUPS = round(_SCANS * (1 - _HELD_BACK)) * _PATTERNS // _GROUP
"""Groups of an epoch: 256, a multiple of every batch."""
_SET = ("--n_scans", str(_SCANS), "--n_patterns", str(_PATTERNS), "--N", "64")
_TRAIN = ("--val_fraction", str(_HELD_BACK), "--group_size", str(_GROUP), "--width", "32", "--stages", "2",
          "--pretrained", "false", "--min_gain", "0", "--accelerator", "cpu", "--devices", "1")  # fmt: skip
_EVERY_EPOCHS = 2


@dataclass(frozen=True)
class Point:
    """What a network was worth after so many patterns.

    Parameters
    ----------
    batch
        Groups in a global step.
    steps, patterns_seen
        Steps and patterns so far.
    fourier_error, ssim_phase
        Of the stitched held-out scans.
    """

    batch: int
    steps: int
    patterns_seen: int
    fourier_error: float
    ssim_phase: float


def train(folder: Path, batch: int, epochs: int) -> list[Point]:
    """Train with a batch, unless that is done; returns the curve of the held-out scans."""
    run = folder / f"batch-{batch}-epochs-{epochs}"
    if not (run / "bundle" / "bundle.json").is_file():
        every = _EVERY_EPOCHS * max(1, _GROUPS // batch)
        ptycho_dist("train", str(folder / "set"), "--output_dir", str(run), *_TRAIN, "--max_epochs", str(epochs),
                    "--batch_size_per_rank", str(batch), "--held_out_every", str(every))  # fmt: skip
    return curve(run / "logs" / "metrics.csv", batch)


def curve(path: Path, batch: int) -> list[Point]:
    """Read what a training logged of its held-out scans."""
    with path.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("held_out_fourier_error")]
    return [
        Point(
            batch=batch,
            steps=int(row["step"]) + 1,
            patterns_seen=round(float(row["patterns_seen"])),
            fourier_error=float(row["held_out_fourier_error"]),
            ssim_phase=float(row["held_out_ssim_phase"]),
        )
        for row in rows
    ]


def table(found: Sequence[Point]) -> Table:
    """Show Fourier error and phase SSIM by patterns seen, a column for each batch."""
    result = Table(title="held-out scans: Fourier error / phase SSIM (steps)")
    batches = sorted({one.batch for one in found})
    result.add_column("patterns seen")
    for batch in batches:
        result.add_column(f"{batch} groups")
    known = {(one.patterns_seen, one.batch): one for one in found}
    for seen in sorted({one.patterns_seen for one in found}):
        result.add_row(f"{seen:,}", *(_shown(known.get((seen, batch))) for batch in batches))
    return result


def main() -> None:
    """Simulate, train with every batch, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output_dir", type=Path, default=Path("runs/batch_sizes"), help="folder of what is made")
    parser.add_argument("--epochs", type=int, default=16, help=f"passes over the {_GROUPS * _GROUP} patterns")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="groups in a global step")
    given = parser.parse_args()
    if not (given.output_dir / "set" / "set.json").is_file():
        ptycho_dist("simulate", str(given.output_dir / "set"), *_SET)
    found = [point for batch in given.batches for point in train(given.output_dir, batch, given.epochs)]
    Console().print(table(found))
    content = {"epochs": given.epochs, "points": [asdict(one) for one in found]}
    sys.stdout.write(f"written to {write_results('batch_sizes', content)}\n")


def _shown(point: Point | None) -> str:
    return "-" if point is None else f"{point.fourier_error:.4f} / {point.ssim_phase:.3f} ({point.steps})"


if __name__ == "__main__":
    main()
