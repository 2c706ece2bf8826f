"""How near training, prediction and refinement come to what the GPU can do.

Run ``python -m benchmarks.gpu_limits`` on a machine with a GPU; ``--device cpu`` is a small dry run. It measures the
limits of the device, then each workload in each variant, and prints achieved FLOP/s and bytes/s beside the limits.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.common import write_results
from benchmarks.counting import Amount, count
from benchmarks.limits import Limits, Sizes, measure_limits, seconds
from benchmarks.workloads import BF16, COMPILED, Setting, Workload, make_all
from ptycho_dist.config.schema import ModelConfig

_GPU = {"N": 128, "patterns": 256, "matrix": 8192, "copy_bytes": 1 << 30, "repeats": 20}
_CPU = {"N": 32, "patterns": 16, "matrix": 256, "copy_bytes": 1 << 22, "repeats": 3}
_GROUP_SIZE = 8


@dataclass(frozen=True)
class Measured:
    """One workload in one variant.

    Parameters
    ----------
    name, variant
        What, and how.
    seconds
        Of one call.
    patterns_per_s
        Speed.
    flops_per_s, bytes_per_s
        Achieved.
    share_of_flops, share_of_bytes
        Of what the device can do at most.
    share_of_roof
        Shortest time that these limits allow, over the time taken.
    """

    name: str
    variant: str
    seconds: float
    patterns_per_s: float
    flops_per_s: float
    bytes_per_s: float
    share_of_flops: float
    share_of_bytes: float
    share_of_roof: float


def judge(workload: Workload, amount: Amount, duration_s: float, limits: Limits) -> Measured:
    """Hold the time of a workload against the limits of the device."""
    matmul = limits.matmul_flops["bfloat16" if workload.variant in (BF16, COMPILED) else "float32"]
    compute_s = (amount.flops - amount.fft_flops) / matmul + amount.fft_flops / limits.fft_flops
    memory_s = amount.bytes_moved / limits.copy_bytes_per_s
    return Measured(
        name=workload.name,
        variant=workload.variant,
        seconds=duration_s,
        patterns_per_s=workload.patterns / duration_s,
        flops_per_s=amount.flops / duration_s,
        bytes_per_s=amount.bytes_moved / duration_s,
        share_of_flops=compute_s / duration_s,
        share_of_bytes=memory_s / duration_s,
        share_of_roof=max(compute_s, memory_s) / duration_s,
    )


def measure(setting: Setting, limits: Limits, repeats: int, *, compiled: bool) -> list[Measured]:
    """Time every workload in every variant; operations are counted in the first variant, which is eager."""
    amounts: dict[str, Amount] = {}
    found = []
    for make in make_all(setting, compiled=compiled):
        workload = make()
        if workload.name not in amounts:
            amounts[workload.name] = count(workload.run)
        duration_s = seconds(workload.run, setting.device, repeats)
        found.append(judge(workload, amounts[workload.name], duration_s, limits))
    return found


def table(found: Sequence[Measured], limits: Limits) -> Table:
    """Show what was achieved, in shares of the limits."""
    result = Table(title="achieved, and shares of the measured limits", caption=_caption(limits))
    for column in ("workload", "variant", "patterns/s", "GFLOP/s", "of limit", "GB/s", "of limit", "of roofline"):
        result.add_column(column, justify="left" if column in ("workload", "variant") else "right")
    for one in found:
        compute = (f"{one.patterns_per_s:,.0f}", f"{one.flops_per_s / 1e9:,.1f}", f"{one.share_of_flops:.0%}")
        memory = (f"{one.bytes_per_s / 1e9:,.1f}", f"{one.share_of_bytes:.0%}", f"{one.share_of_roof:.0%}")
        result.add_row(one.name, one.variant, *compute, *memory)
    return result


def _caption(limits: Limits) -> str:
    matmul = ", ".join(f"{name} {flops / 1e9:,.0f}" for name, flops in limits.matmul_flops.items())
    return (
        f"limits: matrix product GFLOP/s {matmul}; FFT GFLOP/s {limits.fft_flops / 1e9:,.0f}; "
        f"copy GB/s {limits.copy_bytes_per_s / 1e9:,.0f}. A share above 100 % says that caches helped."
    )


def run(device: torch.device, sizes: dict[str, int], *, compiled: bool) -> tuple[Limits, list[Measured]]:
    """Measure limits and workloads on a device."""
    N, patterns = sizes["N"], sizes["patterns"]
    limit_sizes = Sizes(sizes["matrix"], sizes["copy_bytes"], patterns, N)
    limits = measure_limits(device, limit_sizes, sizes["repeats"])
    setting = Setting(device, N, patterns, _GROUP_SIZE, ModelConfig(output_px=N // 2))
    return limits, measure(setting, limits, sizes["repeats"], compiled=compiled)


def name_of(device: torch.device) -> str:
    """Name of the device, for the results."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write ``results/gpu_limits.json`` (of a dry run: ``gpu_limits_dry_run.json``)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu is a small dry run")
    parser.add_argument("--N", type=int, help="side of a pattern in pixels")
    parser.add_argument("--patterns", type=int, help="patterns at once, a multiple of 8")
    parser.add_argument("--compile", action="store_true", help="also on a CPU, where it takes a minute")
    arguments = parser.parse_args(argv)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.stderr.write("torch finds no CUDA device here; expected one. A dry run: --device cpu.\n")
        return 2
    on_gpu = arguments.device == "cuda"
    sizes = (_GPU if on_gpu else _CPU) | {
        name: value for name in ("N", "patterns") if (value := getattr(arguments, name)) is not None
    }
    device = torch.device(arguments.device)
    limits, found = run(device, sizes, compiled=on_gpu or arguments.compile)
    Console().print(table(found, limits))
    content: dict[str, Any] = {"device": name_of(device), "torch": torch.__version__, "sizes": sizes}
    content |= {"limits": asdict(limits), "measured": [asdict(one) for one in found]}
    path: Path = write_results("gpu_limits" if on_gpu else "gpu_limits_dry_run", content)
    sys.stdout.write(f"written to {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
