"""Refinement by tiles against the scan at once: error of each iteration, seams, speed of two ranks, bytes sent.

Run ``python -m benchmarks.tiles``; a path of a scan in place of the simulated one is an argument.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.spatial import cKDTree

from benchmarks.common import ptycho_dist, write_results
from ptycho_dist.config.simulate import SimulateConfig
from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.refine.iteration import QUARTERS
from ptycho_dist.refine.tiles.cutting import Rectangle, cut
from ptycho_dist.refine.tiles.exchange import Exchange
from ptycho_dist.simulate.run import simulate

_PATTERNS, _RANKS = 4000, (1, 2, 4)


@dataclass(frozen=True)
class Refined:
    """What a refinement left.

    Parameters
    ----------
    errors, seconds
        Fourier error of each iteration, and time since the start after each.
    product
        Its file.
    """

    errors: tuple[float, ...]
    seconds: tuple[float, ...]
    product: Path

    @property
    def of_an_iteration_s(self) -> float:
        """Median duration of an iteration, the first left out."""
        return float(np.median(np.diff(self.seconds)))


def refine(scan: Path, folder: Path, *settings: object) -> Refined:
    """Refine by our program, with one thread in each process."""
    ptycho_dist("refine", str(scan), "--output_dir", str(folder), "--accelerator", "cpu", *map(str, settings))
    with (folder / "logs" / "refine.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    found = [tuple(float(row[name]) for row in rows) for name in ("fourier_error", "seconds")]
    return Refined(found[0], found[1], folder / "reconstruction.h5")


def seams(object_HW: NDArray[Any], corners_px: NDArray[np.float64], N: int, tiles: int) -> float:
    """Rms step of the object between neighbouring pixels of two tiles, over that between those of one.

    A pixel is of the tile whose pattern is nearest; corners (B, 2) are those of the patterns on the object.
    """
    owner = np.empty(len(corners_px), np.int64)
    for number, patterns in enumerate(cut(corners_px, tiles)):
        owner[patterns] = number
    pixels = np.moveaxis(np.indices(object_HW.shape), 0, -1) + 0.5
    distance, nearest = cKDTree(corners_px + N / 2).query(pixels)
    scanned, label = distance < N / 8, owner[nearest]
    border, inside = [], []
    for axis in (0, 1):
        step = np.abs(np.diff(object_HW, axis=axis))
        both = np.logical_and(*(np.take(scanned, _ends(scanned.shape[axis])[end], axis) for end in (0, 1)))
        crosses = np.diff(label, axis=axis) != 0
        border.append(step[both & crosses])
        inside.append(step[both & ~crosses])
    return float(np.sqrt(np.mean(np.concatenate(border) ** 2) / np.mean(np.concatenate(inside) ** 2)))


def _ends(count: int) -> tuple[range, range]:
    return range(count - 1), range(1, count)


def seams_of(product: Path, tiles: int) -> float:
    """Measure the seams that so many tiles would leave in a product."""
    found = read_product(product)
    corners = found.positions_px - np.asarray(found.geometry.object_origin_px)
    return seams(found.object_, corners, found.probe.shape[-1], tiles)


def halo_bytes(product: Path, tiles: int) -> dict[str, int]:
    """Bytes of object that all ranks send in an iteration: complex64 four times, and the light, float32, once."""
    found = read_product(product)
    corners, N = found.positions_px - np.asarray(found.geometry.object_origin_px), found.probe.shape[-1]
    canvas = found.object_.shape[0], found.object_.shape[1]
    places = [Rectangle.around(corners[one], N, 1, canvas) for one in cut(corners, tiles)]
    halos = {world: sum(Exchange(places, rank, world).halo_px for rank in range(world)) for world in _RANKS}
    return {f"{world} ranks": halo * (8 * QUARTERS + 4) for world, halo in halos.items()}


def two_ranks(scan: Path, folder: Path, tiles: int, rounds: int) -> dict[str, float]:
    """Time an iteration on one rank and on two, of one thread each, in turn; medians."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for number in range(rounds):
        for world, found in seconds.items():
            settings = ("--iterations", 4, "--tiles", tiles, "--devices", world)
            found.append(refine(scan, folder / f"{world}_{number}", *settings).of_an_iteration_s)
    one, two = (statistics.median(found) for found in seconds.values())
    return {"one_rank_s": one, "two_ranks_s": two, "times_as_fast": one / two}


def main() -> None:
    """Refine at once and by tiles, time ranks, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("scan", type=Path, nargs="?", help="4,000 simulated patterns of 64 pixels without")
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--tiles", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = arguments.scan or simulate(SimulateConfig(output_file=folder / "scan.h5", n_patterns=_PATTERNS))
        settings = ("--iterations", arguments.iterations)
        at_once = refine(scan, folder / "at_once", *settings, "--tiles", 1)
        tiled = refine(scan, folder / "tiled", *settings, "--tiles", arguments.tiles)
        table = Table("iteration", "at once", f"{arguments.tiles} tiles", "over at once", title="Fourier error")
        for number, (one, other) in enumerate(zip(at_once.errors, tiled.errors, strict=True), start=1):
            table.add_row(str(number), f"{one:.4f}", f"{other:.4f}", f"{other / one:.3f}")
        found: dict[str, Any] = {
            "tiles": arguments.tiles,
            "fourier_errors": {"at_once": at_once.errors, "tiled": tiled.errors},
            "seams": {"at_once": seams_of(at_once.product, arguments.tiles),
                      "tiled": seams_of(tiled.product, arguments.tiles)},
            "one_rank_iteration_s": {"at_once": at_once.of_an_iteration_s, "tiled": tiled.of_an_iteration_s},
            "halo_bytes_per_iteration": halo_bytes(tiled.product, arguments.tiles),
            "ranks": two_ranks(scan, folder, arguments.tiles, arguments.rounds),
        }  # fmt: skip
    Console().print(table)
    Console().print({name: value for name, value in found.items() if name != "fourier_errors"})
    sys.stdout.write(f"written to {write_results('tiles', found)}\n")


if __name__ == "__main__":
    main()
