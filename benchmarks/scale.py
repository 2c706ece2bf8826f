"""Time and memory of what each rank, and rank 0, does with a scan as a whole, for up to thousands of ranks.

Run ``python -m benchmarks.scale``. One process plays all ranks in turn: it cuts the scan into shares, draws the
groups of an epoch, finds and solves the phases, writes every shard, checks them and stitches, with the code that jobs
run. Positions are a raster with jitter, patches and products are made up; nothing is predicted or sent. Stages of each
rank are timed as one rank has them; peak memory is what the process held beyond what it held before (Linux with
glibc). Each number of ranks has a scan of so many patterns a rank, and, up to a size, the scans of the others. The last
table tells with which powers of the number of patterns, and of ranks, a stage grows, by least squares of both.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.common import write_results
from ptycho_dist.assembly.accumulate import FixedPointSum, fraction_bits
from ptycho_dist.assembly.shards import Manifest, write_shard
from ptycho_dist.assembly.stitch import require_complete, stitch
from ptycho_dist.assembly.synchronise import overlap_pairs, solve_phases
from ptycho_dist.config.schema import DataConfig, TrainingConfig
from ptycho_dist.data.grouping import canonical_order
from ptycho_dist.data.sampler import Chosen, Layout, StepSampler, StepShare
from ptycho_dist.distributed.sharding import local_slice, shards
from ptycho_dist.types import Canvas, FloatArray, IntArray, Shard
from tests.support.ranks import rank_context

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_STEP_PX, _SIDE_PX, _TILE_PX = 5.0, 16, 1024
_LEAST_MB = 1.0
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Measured:
    """A stage for so many ranks and patterns: seconds and peak megabytes of a process that has it to do."""

    stage: str
    ranks: int
    patterns: int
    seconds: float
    peak_mb: float


@dataclass
class Watch:
    """Measures stages, for so many ranks and patterns."""

    ranks: int
    patterns: int
    measured: list[Measured]

    def stage(self, name: str, work: Callable[[], _Made], share: int = 1) -> _Made:
        """Do the work of a stage that ``share`` ranks divide; what is noted is that of one."""
        ctypes.CDLL(None).malloc_trim(0)
        _RESET.write_text("5", encoding="ascii")
        before, began = _megabytes("VmRSS"), time.perf_counter()
        made = work()
        seconds = (time.perf_counter() - began) / share
        self.measured.append(Measured(name, self.ranks, self.patterns, seconds, _megabytes("VmHWM") - before))
        return made


def _megabytes(name: str) -> float:
    lines = dict(line.split(":", 1) for line in _STATUS.read_text(encoding="ascii").splitlines())
    return int(lines[name].split()[0]) / 1024


def raster(count: int) -> FloatArray:
    """Positions (B, 2) of a square raster with jitter."""
    side = int(np.ceil(count**0.5))
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1).reshape(-1, 2)[:count]
    return _STEP_PX * grid + np.random.default_rng(0).uniform(-1.0, 1.0, (count, 2))


def planted(positions_px: FloatArray, pairs: IntArray) -> tuple[FloatArray, NDArray[np.complex128]]:
    """Phases (B,), and inner products (E,) of patches that have them."""
    phases = np.sin(positions_px[:, 0] / 90) + np.cos(positions_px[:, 1] / 70)
    return phases, np.exp(1j * (phases[pairs[:, 0]] - phases[pairs[:, 1]]))


def first_share(positions_px: FloatArray, ranks: int) -> StepShare:
    """Draw an epoch, and give what one of the ranks does in its first step."""
    nowhere = Path()
    configs = (DataConfig(), TrainingConfig(train_data_file=nowhere, output_dir=nowhere, batch_size=ranks))
    chosen, layout = Chosen.of_one(np.arange(len(positions_px))), Layout(positions_px, 0.0)
    return next(iter(StepSampler(lambda _: layout, chosen, configs, rank_context(ranks - 1, ranks), shuffle=True)))


def write_part(folder: Path, positions_px: FloatArray, order: IntArray, part: Shard) -> None:
    """Write the shard of one rank."""
    mine = positions_px[order[local_slice(part)]]
    total = FixedPointSum(Canvas.around(mine, _SIDE_PX), fraction_bits(len(order)))
    patches = torch.ones(len(mine), _SIDE_PX, _SIDE_PX, dtype=torch.complex64)
    total.add(patches, torch.ones(_SIDE_PX, _SIDE_PX, dtype=torch.float64), torch.from_numpy(mine))
    write_shard(folder, part, "made up", total.tile, total.arrays())


def measure(ranks: int, patterns_per_rank: int, folder: Path) -> list[Measured]:
    """Measure all stages for so many ranks.

    Raises
    ------
    ValueError
        If the result of a stage is wrong.
    """
    count = ranks * patterns_per_rank
    watch, positions_px = Watch(ranks, count, []), raster(count)
    order = watch.stage("order of shares (each rank)", lambda: canonical_order(positions_px))
    watch.stage("groups of an epoch (each rank)", lambda: first_share(positions_px, ranks))
    pairs = watch.stage("pairs (each rank)", lambda: overlap_pairs(positions_px, _SIDE_PX))
    truth, products = planted(positions_px, pairs)
    phases = watch.stage("phases (rank 0)", lambda: solve_phases(count, pairs, products))
    if np.ptp(phases + truth) > 1e-2:
        msg = f"phases of {count} patterns are off by {np.ptp(phases + truth):.3g} rad; expected those planted"
        raise ValueError(msg)
    parts = shards(count, ranks)

    def write_all() -> None:
        for part in parts:
            write_part(folder, positions_px, order, part)

    watch.stage("sum and shard (each rank)", write_all, ranks)
    manifest = Manifest(
        fingerprint="made up",
        world=ranks,
        indexes=np.arange(count),
        N=_SIDE_PX,
        canvas=Canvas.around(positions_px, _SIDE_PX),
        bits=fraction_bits(count),
        probe_PNN=np.ones((1, _SIDE_PX, _SIDE_PX), np.complex64),
        positions_px=positions_px,
        facts={},
    )
    placed = watch.stage("check of shards (rank 0)", lambda: require_complete(folder, manifest))
    tiles = (tile.count.sum(dtype=np.int64) for tile in stitch(placed, manifest, _TILE_PX))
    covered = watch.stage("stitching (rank 0)", lambda: int(sum(tiles)))
    if covered != count * (_SIDE_PX + 1) ** 2:
        msg = f"{covered} pixels of patches were stitched; expected {count * (_SIDE_PX + 1) ** 2}"
        raise ValueError(msg)
    return watch.measured


def exponents(measured: Sequence[Measured]) -> dict[str, dict[str, float]]:
    """Powers of the numbers of patterns and of ranks with which each stage grows, by least squares of logarithms."""
    found = {}
    for stage in dict.fromkeys(one.stage for one in measured):
        rows = [one for one in measured if one.stage == stage]
        sizes = np.log([[one.patterns, one.ranks, math.e] for one in rows])
        values = np.log([[max(one.seconds, 1e-6), max(one.peak_mb, _LEAST_MB)] for one in rows])
        powers = np.linalg.lstsq(sizes, values, rcond=None)[0]
        names = ("time_patterns", "time_ranks", "memory_patterns", "memory_ranks")
        found[stage] = dict(zip(names, powers[:2].T.ravel().tolist(), strict=True))
    return found


def cases(numbers: Sequence[int], patterns_per_rank: int, most: int) -> list[tuple[int, int]]:
    """Numbers of ranks and of patterns a rank: each with its own scan, and with smaller scans of the others."""
    own = [(ranks, patterns_per_rank) for ranks in numbers]
    totals = [ranks * patterns_per_rank for ranks in numbers if ranks * patterns_per_rank <= most]
    shared = [(ranks, total // ranks) for ranks in numbers for total in totals if total // ranks > 1]
    return sorted(dict.fromkeys(own + shared))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--ranks", type=int, nargs="+", default=[64, 256, 1024, 4096], help="numbers of ranks")
    parser.add_argument("--patterns-per-rank", type=int, default=64, help="patterns of each rank")
    parser.add_argument(
        "--most-shared", type=int, default=70_000, help="patterns of the largest scan that all numbers of ranks divide"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measured: list[Measured] = []
    for ranks, share in cases(arguments.ranks, arguments.patterns_per_rank, arguments.most_shared):
        with tempfile.TemporaryDirectory() as name:
            measured += measure(ranks, share, Path(name))
    table = Table("stage", "ranks", "patterns", "s", "MB", title=f"{arguments.patterns_per_rank} patterns a rank")
    for one in sorted(measured, key=lambda one: one.stage):
        table.add_row(one.stage, str(one.ranks), str(one.patterns), f"{one.seconds:.4f}", f"{one.peak_mb:.1f}")
    Console().print(table)
    powers = exponents(measured) if len(arguments.ranks) > 1 else {}
    fitted = Table("stage", "time: patterns", "ranks", "memory: patterns", "ranks", title="powers")
    for stage, of_stage in powers.items():
        fitted.add_row(stage, *(f"{power:.2f}" for power in of_stage.values()))
    Console().print(fitted)
    results = {"measured": [asdict(one) for one in measured], "exponents": powers}
    sys.stdout.write(f"written to {write_results('scale', results)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
