"""What the benchmark of an idle GPU makes of kernels; and, on a GPU, that a training keeps it busy."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ptycho_dist
from benchmarks.gpu_idle import Kernel, busy_ns, judge, measure, steps_of, table


def step_of(start_ns: int) -> list[Kernel]:
    """Two kernels of 10 and 20 ns, 5 apart, and an optimiser of 5 ns; 40 ns in all."""
    return [
        Kernel(start_ns, start_ns + 10, "a"),
        Kernel(start_ns + 15, start_ns + 35, "b"),
        Kernel(start_ns + 35, start_ns + 40, "FusedAdamMathFunctor"),
    ]


def test_time_of_kernels_that_overlap_counts_once() -> None:
    assert busy_ns([Kernel(0, 10, "a"), Kernel(5, 12, "b"), Kernel(6, 8, "c"), Kernel(20, 21, "d")]) == 13


def test_steps_end_with_the_optimiser_and_the_incomplete_ones_are_left_out() -> None:
    kernels = [kernel for number in range(4) for kernel in step_of(100 * number)]
    assert steps_of([*kernels, Kernel(900, 901, "late")]) == [step_of(100), step_of(200), step_of(300)]


def test_idle_share_is_what_no_kernel_covers_between_two_optimisers() -> None:
    found = judge([kernel for number in range(40) for kernel in step_of(70 * number)], 2, 32)
    assert found.idle == pytest.approx(1 - 35 / 70)
    assert found.step_ms == pytest.approx(70e-6)
    assert table([found], 128).row_count == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_a_gpu_is_busy_in_training_steps_of_128_squared(tmp_path: Path) -> None:
    ptycho_dist.simulate_scan(tmp_path / "scan.h5", n_patterns=1000, N=128)
    assert measure(tmp_path / "scan.h5", tmp_path, 16, 16, 60).idle < 0.15
