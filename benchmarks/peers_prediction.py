"""Prediction and stitching, from scan file to written object, against PtychoPINN's barycentric route.

Run ``python -m benchmarks.peers_prediction --ptychopinn-dir DIR``. Both predict the
simulated Run1084 scan with briefly trained weights (the time does not depend on them); start-up and imports of
both programs are left out. PtychoPINN predicts each scan point in several groups of four, as it does by default
(7 groups; ``--groups-per-point`` changes it).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.common import ptycho_dist, write_results
from benchmarks.peers_common import PtychoPinn, peer_arguments, peer_of
from benchmarks.run1084 import write_scan
from ptycho_dist.data.scan import read_header

AIM_RATIO, AIM_STITCHING_SHARE = 100.0, 0.1


def measure_ours(scan: Path, folder: Path, ranks: int, repeats: int) -> dict[str, float]:
    """Train for a moment, then predict a few times; seconds of the fastest prediction."""
    common = ["--accelerator", "cpu", "--devices", str(ranks)]
    bundle = folder / "train" / "bundle"
    ptycho_dist("train", str(scan), "--output_dir", str(folder / "train"), "--max_epochs", "1", *common)
    found: list[dict[str, Any]] = []
    for number in range(repeats):
        output = folder / f"predict-{number}"
        ptycho_dist("infer", str(scan), "--model_path", str(bundle), "--output_dir", str(output), *common)
        found.append(json.loads((output / "metrics.json").read_text(encoding="utf-8")))
    best = min(found, key=lambda one: float(one["prediction_s"] + one["stitching_s"]))
    prediction, stitching = best["prediction_s"], best["stitching_s"]
    return {"wall_s": prediction + stitching, "stitching_s": stitching, "stitching_share": stitching / prediction}


def measure_peer(peer: PtychoPinn, scan: Path, groups_per_point: int) -> dict[str, Any]:
    """Train for a moment, then predict once."""
    peer.run("train", scan, seconds=5)
    return peer.run("predict", scan, n_subsample=groups_per_point, data={})


def main() -> int:
    """Measure both in turn; 1 where an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    peer_arguments(parser)
    parser.add_argument("--groups-per-point", type=int, default=7, help="groups that PtychoPINN makes at each point")
    parser.add_argument("--repeats", type=int, default=3, help="predictions of ours; the fastest counts")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "scan").mkdir()
        scan = write_scan(folder / "scan" / "run1084.npz")
        n_patterns = read_header(scan).n_patterns
        ours = measure_ours(scan, folder, arguments.threads, arguments.repeats)
        peer = peer_of(arguments, folder)
        theirs = measure_peer(peer, scan, arguments.groups_per_point)
    ratio = theirs["wall_s"] / ours["wall_s"]
    table = Table("", "seconds", "scan patterns/s", title="From scan file to written object")
    for label, one in (("ptycho_dist", ours), ("PtychoPINN", theirs)):
        table.add_row(label, f"{one['wall_s']:.2f}", f"{n_patterns / one['wall_s']:.1f}")
    table.add_row("ratio", "", f"{ratio:.0f}")
    Console().print(table)
    run = {"n_patterns": n_patterns, "threads": arguments.threads, "groups_per_point": arguments.groups_per_point}
    path = write_results("peers_prediction", run | {"ours": ours, "ptychopinn": theirs, "ratio": ratio})
    sys.stdout.write(f"written to {path}\n")
    return int(ratio < AIM_RATIO or ours["stitching_share"] > AIM_STITCHING_SHARE)


if __name__ == "__main__":
    sys.exit(main())
