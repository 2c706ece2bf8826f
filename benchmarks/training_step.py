"""Processor time of a training step at default settings on a CPU, with patches moved by compiled loops and by torch.

Run ``python -m benchmarks.training_step``; the two are timed in turn, with one thread.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.common import write_results
from benchmarks.workloads import EAGER, Setting, training
from ptycho_dist.config.schema import ModelConfig
from ptycho_dist.physics.bodies import Body

_PATTERNS, _GROUP_SIZE = 32, 16
_BODIES = (Body.RECTANGLES, Body.COMPILED)


@dataclass(frozen=True)
class Step:
    """Median processor time of a step in ms, by how patches are moved.

    Parameters
    ----------
    N
        Side of a pattern in pixels.
    rectangles_ms, compiled_ms
        By operations of torch, and by compiled loops.
    """

    N: int
    rectangles_ms: float
    compiled_ms: float


def processor_ms(work: Callable[[], object]) -> float:
    """Processor time of a piece of work."""
    started = time.process_time()
    work()
    return 1e3 * (time.process_time() - started)


def measure(N: int, repeats: int) -> Step:
    """Time steps of 32 patterns in two groups, one body after the other."""
    model = ModelConfig(output_px=N // 2)
    works = [
        training(Setting(torch.device("cpu"), N, _PATTERNS, _GROUP_SIZE, model, body), EAGER).run for body in _BODIES
    ]
    for work in works:
        work()
    times = [[processor_ms(work) for work in works] for _ in range(repeats)]
    return Step(N, *(median(column) for column in zip(*times, strict=True)))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write ``results/training_step.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--N", type=int, nargs="+", default=[64, 128], help="sides of a pattern in pixels")
    parser.add_argument("--repeats", type=int, default=15, help="steps of each")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    found = [measure(N, arguments.repeats) for N in arguments.N]
    table = Table("N", "by torch, ms", "compiled, ms", "ratio", "patterns/s", title="a training step of 32 patterns")
    for one in found:
        row = (one.rectangles_ms, one.compiled_ms, one.rectangles_ms / one.compiled_ms)
        table.add_row(str(one.N), *(f"{value:.2f}" for value in row), f"{1e3 * _PATTERNS / one.compiled_ms:,.0f}")
    Console().print(table)
    sys.stdout.write(f"written to {write_results('training_step', {'measured': [asdict(one) for one in found]})}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
