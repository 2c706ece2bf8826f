"""How long a GPU has nothing to do in the steps of a real training.

Run ``python -m benchmarks.gpu_idle`` on a machine with a GPU: it trains on a simulated scan, as ``ptycho-dist train``
does, under torch's profiler, and looks at the kernels between one optimiser step and the next.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

import ptycho_dist
from benchmarks.common import write_results

_OPTIMIZER = "adam"
"""Part of the name of the kernel that ends a step."""
_FIRST = 20
"""Steps that are left out, in which graphs are captured."""


class Kernel(NamedTuple):
    """Work of the GPU: when it began and ended, in ns, and its name."""

    start_ns: int
    end_ns: int
    name: str


@dataclass(frozen=True)
class Idle:
    """What one training showed.

    Parameters
    ----------
    batch_size, patterns
        Groups in a step, and patterns.
    step_ms
        Median time of a step.
    idle
        Median share of a step in which no kernel ran.
    idle_of_all
        Share of all steps together, with the looks at the network between some of them.
    """

    batch_size: int
    patterns: int
    step_ms: float
    idle: float
    idle_of_all: float


def busy_ns(kernels: Iterable[Kernel]) -> int:
    """Time in which at least one of some kernels ran."""
    total, reached = 0, 0
    for start, end, _ in sorted(kernels):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total


def steps_of(kernels: Sequence[Kernel]) -> list[list[Kernel]]:
    """Part kernels into steps; each ends with that of the optimiser."""
    steps: list[list[Kernel]] = [[]]
    for kernel in sorted(kernels):
        steps[-1].append(kernel)
        if _OPTIMIZER in kernel.name.lower():
            steps.append([])
    return steps[1:-1]


def judge(kernels: Sequence[Kernel], batch_size: int, patterns: int) -> Idle:
    """Find out how busy the GPU was in the steps of a training."""
    steps = [one for one in steps_of(kernels)[_FIRST:] if one]
    ends = [max(kernel.end_ns for kernel in one) for one in steps]
    spans = [now - before for before, now in pairwise(ends)]
    busy = [busy_ns(one) for one in steps[1:]]
    shares = [1 - work / span for work, span in zip(busy, spans, strict=True)]
    return Idle(batch_size, patterns, median(spans) / 1e6, median(shares), 1 - sum(busy) / sum(spans))


def measure(scan: Path, folder: Path, batch_size: int, group_size: int, steps: int) -> Idle:
    """Train for so many steps under the profiler."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        ptycho_dist.train(
            scan, output_dir=folder / str(batch_size), batch_size=batch_size, group_size=group_size, max_steps=steps,
            accelerator="gpu", overwrite=True,
        )  # fmt: skip
    kineto = profiler.profiler.kineto_results.events()
    found = [
        Kernel(one.start_ns(), one.start_ns() + one.duration_ns(), one.name())
        for one in kineto
        if one.device_type() == DeviceType.CUDA
    ]
    return judge(found, batch_size, batch_size * group_size)


def table(found: Sequence[Idle], N: int) -> Table:
    """Show it."""
    result = Table("groups", "patterns", "ms a step", "idle", "of all steps", title=f"a GPU in training steps, N = {N}")
    for one in found:
        step, shares = f"{one.step_ms:.2f}", (f"{one.idle:.0%}", f"{one.idle_of_all:.0%}")
        result.add_row(str(one.batch_size), str(one.patterns), step, *shares)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write ``results/gpu_idle.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--N", type=int, default=128, help="side of a pattern in pixels")
    parser.add_argument("--patterns", type=int, default=2000, help="patterns of the scan")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[2, 8, 16], help="groups in a step")
    parser.add_argument("--group_size", type=int, default=16, help="patterns in a group")
    parser.add_argument("--steps", type=int, default=120, help="steps of each training")
    arguments = parser.parse_args(argv)
    if not torch.cuda.is_available():
        sys.stderr.write("torch finds no CUDA device here; expected one.\n")
        return 2
    with tempfile.TemporaryDirectory() as name:
        scan = Path(name) / "scan.h5"
        ptycho_dist.simulate_scan(scan, n_patterns=arguments.patterns, N=arguments.N)
        sizes = (arguments.group_size, arguments.steps)
        found = [measure(scan, Path(name), batch_size, *sizes) for batch_size in arguments.batch_sizes]
    Console().print(table(found, arguments.N))
    content = {"device": torch.cuda.get_device_name(), "N": arguments.N, "measured": [asdict(one) for one in found]}
    sys.stdout.write(f"written to {write_results('gpu_idle', content)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
