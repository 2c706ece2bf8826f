"""Training speed and quality against PtychoPINN's CNN, on the simulated Run1084 scan.

Run ``python -m benchmarks.peers_training --ptychopinn-dir DIR``. PtychoPINN trains for
``--seconds``; then we train on as many patterns as it has seen, for a fifth of its time, and for the same time.
All objects are compared with the truth in the same way.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.common import ptycho_dist, write_results
from benchmarks.peers_common import PtychoPinn, peer_arguments, peer_of, product_object, quality
from benchmarks.run1084 import write_scan
from ptycho_dist.data.scan import Scan, open_scan

AIM_SPEED = 5.0
_TRIAL_EPOCHS = 6


@dataclass(frozen=True)
class Outcome:
    """A training and its object.

    Parameters
    ----------
    name
        Whose, and on which terms.
    training_s, patterns, patterns_per_s
        Wall time of the training, patterns seen, and speed without its start (ours: median of the epochs).
    quality
        Comparison with the truth.
    """

    name: str
    training_s: float
    patterns: int
    patterns_per_s: float
    quality: dict[str, float]


def train_ours(name: str, scan: Scan, folder: Path, ranks: int, epochs: int) -> Outcome:
    """Reconstruct with so many epochs."""
    ptycho_dist(
        "reconstruct", str(scan.header.path), "--output_dir", str(folder), "--accelerator", "cpu",
        "--devices", str(ranks), "--max_epochs", str(epochs),
    )  # fmt: skip
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    found = quality(product_object(folder / "reconstruction.h5"), scan)
    patterns = epochs * scan.header.n_patterns
    return Outcome(name, metrics["training_s"], patterns, _median_speed(folder), found)


def _median_speed(folder: Path) -> float:
    """Patterns per second of the epochs, the first left out."""
    with (folder / "logs" / "metrics.csv").open(newline="", encoding="utf-8") as stream:
        speeds = [float(row["patterns_per_s"]) for row in csv.DictReader(stream) if row["patterns_per_s"]]
    return median(speeds[1:])


def train_peer(peer: PtychoPinn, scan: Scan, seconds: float) -> Outcome:
    """Train for so long, and predict."""
    answer = peer.run("train", scan.header.path, seconds=seconds, epochs=100_000)
    peer.run("predict", scan.header.path)
    found = quality(peer.placed_object(), scan)
    return Outcome("PtychoPINN", answer["wall_s"], answer["patterns"], answer["patterns_per_s"], found)


def compare(peer: PtychoPinn, scan: Scan, seconds: float, folder: Path) -> list[Outcome]:
    """Train PtychoPINN once and ours on three terms, after a trial that tells our speed."""
    theirs = train_peer(peer, scan, seconds)
    trial = train_ours("trial", scan, folder / "trial", peer.threads, _TRIAL_EPOCHS)
    epochs_per_s = trial.patterns_per_s / scan.header.n_patterns
    terms = {
        "as many patterns": theirs.patterns / scan.header.n_patterns,
        "a fifth of the time": seconds / 5 * epochs_per_s,
        "the same time": seconds * epochs_per_s,
    }
    ours = [
        train_ours(name, scan, folder / name.replace(" ", "-"), peer.threads, max(3, round(epochs)))
        for name, epochs in terms.items()
    ]
    return [theirs, *ours]


def table(outcomes: list[Outcome]) -> Table:
    """Lay the outcomes out."""
    result = Table("", "s", "patterns seen", "patterns/s", *outcomes[0].quality, title="Training against PtychoPINN")
    for one in outcomes:
        numbers = [f"{value:.3f}" for value in one.quality.values()]
        result.add_row(one.name, f"{one.training_s:.0f}", str(one.patterns), f"{one.patterns_per_s:.0f}", *numbers)
    return result


def main() -> int:
    """Measure; 1 where an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    peer_arguments(parser)
    parser.add_argument("--seconds", type=float, default=150.0, help="how long PtychoPINN trains")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "scan").mkdir()
        peer = peer_of(arguments, folder)
        with open_scan(write_scan(folder / "scan" / "run1084.npz")) as scan:
            outcomes = compare(peer, scan, arguments.seconds, folder)
    theirs, longest = outcomes[0], outcomes[-1]
    ratio = longest.patterns_per_s / theirs.patterns_per_s
    Console().print(table(outcomes))
    sys.stdout.write(f"speed, ours to PtychoPINN's: {ratio:.2f}\n")
    measured = {"threads": arguments.threads, "speed_ratio": ratio, "outcomes": [asdict(one) for one in outcomes]}
    sys.stdout.write(f"written to {write_results('peers_training', measured)}\n")
    worse = any(one.quality["ssim_phase"] < theirs.quality["ssim_phase"] for one in outcomes[1:])
    return int(ratio < AIM_SPEED or worse)


if __name__ == "__main__":
    sys.exit(main())
