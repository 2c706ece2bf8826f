"""Refinement on the Siemens star: seconds to each Fourier error, from ones, from a network, and by pty-chi's LSQML.

Run ``python -m benchmarks.refinement``; with ``--ptychi-python PYTHON`` (of an environment that has ptychi) the peer
runs in turn on the same scan with the same threads. Our errors are those met in passing, before each pattern's own
update, so they are a little above those of the finished iteration; the peer's are of its finished epochs.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from benchmarks.common import RESULTS, ptycho_dist, write_results
from ptycho_dist.atomic import atomic_path

LEVELS = (0.20, 0.16, 0.14, 0.13, 0.12, 0.115, 0.1128, 0.11)
"""Fourier errors whose times are compared; 0.1128 is what 100 iterations of a plain ePIE reach."""
_PATTERNS = 516
"""Patterns of the star."""
DRIVER = Path(__file__).resolve().parent / "peers" / "ptychi_lsqml.py"


@dataclass(frozen=True)
class Curve:
    """How a reconstruction came nearer to the patterns.

    Parameters
    ----------
    name
        What it started from, or who did it.
    iterations, seconds, fourier_error
        One entry for each step that was looked at.
    """

    name: str
    iterations: tuple[int, ...]
    seconds: tuple[float, ...]
    fourier_error: tuple[float, ...]

    def reach(self, level: float) -> tuple[int, float] | None:
        """Tell iterations and seconds until the error is at a level; None if it never is."""
        for count, seconds, error in zip(self.iterations, self.seconds, self.fourier_error, strict=True):
            if error <= level:
                return count, seconds
        return None


def refine(scan: Path, output: Path, threads: int, *more: str) -> Curve:
    """Refine by our program, and read its log."""
    ptycho_dist("refine", str(scan), "--output_dir", str(output), "--accelerator", "cpu", *more, threads=threads)
    with (output / "logs" / "refine.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return Curve(
        output.name,
        tuple(int(row["iteration"]) for row in rows),
        tuple(float(row["seconds"]) for row in rows),
        tuple(float(row["fourier_error"]) for row in rows),
    )


def run_peer(python: str, scan: Path, output: Path, threads: int, epochs: int) -> Curve:
    """Run pty-chi's LSQML by its own Python."""
    env = os.environ | {"OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([python, str(DRIVER), str(scan), str(output), "--epochs", str(epochs)], env=env, check=True)
    curve = json.loads(output.read_text(encoding="utf-8"))["curve"]
    return Curve(
        "pty-chi LSQML", *(tuple(one[key] for one in curve) for key in ("iterations", "seconds", "fourier_error"))
    )


def patterns_per_s(curve: Curve, n_patterns: int) -> float:
    """Patterns a second over all iterations but the first."""
    return n_patterns * (curve.iterations[-1] - curve.iterations[0]) / (curve.seconds[-1] - curve.seconds[0])


def table(curves: list[Curve]) -> Table:
    """Lay out iterations and seconds to each level."""
    result = Table("Fourier error", *(curve.name for curve in curves), title="iterations and seconds to each level")
    for level in LEVELS:
        reached = [curve.reach(level) for curve in curves]
        result.add_row(f"{level:.4f}", *("-" if at is None else f"{at[0]} / {at[1]:.1f} s" for at in reached))
    return result


def against_peer(ours: Curve, peer: Curve) -> dict[str, float]:
    """Compare speed, and time to the best error that both reach."""
    best = max(min(ours.fourier_error), min(peer.fourier_error))
    (_, own_seconds), (_, peer_seconds) = (one.reach(best) or (0, math.nan) for one in (ours, peer))
    return {
        "equal_fourier_error": best,
        "times_faster_to_equal_error": peer_seconds / own_seconds,
        "times_more_patterns_per_s": patterns_per_s(ours, _PATTERNS) / patterns_per_s(peer, _PATTERNS),
    }


def draw(path: Path, curves: list[Curve]) -> None:
    """Draw error against iterations and against seconds."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, axis in zip(figure.subplots(1, 2, sharey=True), ("iterations", "seconds"), strict=True):
        for curve in curves:
            axes.plot(getattr(curve, axis), curve.fourier_error, marker=".", label=curve.name)
        axes.set_xlabel(axis)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.grid(alpha=0.3, which="both")
    figure.axes[0].set_ylabel("Fourier error")
    figure.axes[1].legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def main() -> None:
    """Refine from each start, run the peer, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--network", type=Path, help="network.h5 of a reconstruct of the star, as a start")
    parser.add_argument("--ptychi-python", help="Python of an environment with ptychi")
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=41, help="epochs of the peer")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    scan = Path(os.environ.get("PTYCHO_DIST_DATA", "../shared/data")) / "siemens_star_tike.npz"
    if not scan.is_file():
        parser.error(f"{scan} is not there; set PTYCHO_DIST_DATA to the folder of the Siemens star")
    more = ("--iterations", str(arguments.iterations))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        curves = [refine(scan, folder / "from ones", arguments.threads, *more)]
        if arguments.network:
            start = ("--start", str(arguments.network))
            curves.append(refine(scan, folder / "from the network", arguments.threads, *more, *start))
        if arguments.ptychi_python:
            peer = run_peer(arguments.ptychi_python, scan, folder / "peer.json", arguments.threads, arguments.epochs)
            curves.append(peer)
    speeds = {curve.name: patterns_per_s(curve, _PATTERNS) for curve in curves}
    Console().print(table(curves))
    Console().print({name: f"{speed:.0f} patterns/s" for name, speed in speeds.items()})
    draw(RESULTS / "refinement.png", curves)
    found: dict[str, Any] = {"curves": [asdict(one) for one in curves], "patterns_per_s": speeds}
    if arguments.ptychi_python:
        found |= against_peer(curves[0], curves[-1])
    Console().print({name: value for name, value in found.items() if name not in ("curves", "patterns_per_s")})
    written = write_results("refinement", found)
    sys.stdout.write(f"written to {written}\n")


if __name__ == "__main__":
    main()
