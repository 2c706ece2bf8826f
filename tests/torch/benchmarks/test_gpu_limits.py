"""The benchmark of a device: what it counts is right, and its dry run works where there is no GPU."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from benchmarks import gpu_limits
from benchmarks.counting import Amount, count
from benchmarks.limits import Limits, Sizes, fft_flops, measure_limits
from benchmarks.workloads import BF16, COMPILED, EAGER, GRAPH, Setting, Workload, make_all
from ptycho_dist.config.schema import ModelConfig

CPU = torch.device("cpu")
TINY = {"N": 32, "patterns": 8, "matrix": 32, "copy_bytes": 1 << 12, "repeats": 1}
REPOSITORY = Path(__file__).resolve().parents[3]


def test_count_of_a_matrix_product_is_exact() -> None:
    one, other = torch.ones(4, 5), torch.ones(5, 6)
    assert count(lambda: one @ other) == Amount(2 * 4 * 5 * 6, 0.0, 4 * (4 * 5 + 5 * 6 + 4 * 6))


def test_count_of_a_transform_is_that_of_its_batch_forward_and_backward() -> None:
    waves = torch.ones(3, 8, 8, dtype=torch.complex64, requires_grad=True)
    forward = count(lambda: torch.fft.fft2(waves))
    assert forward.fft_flops == forward.flops == fft_flops(3 * 64, 64) == 5 * 3 * 64 * 6
    both = count(lambda: torch.autograd.backward(torch.fft.fft2(waves).abs().sum()))
    assert both.fft_flops == 2 * forward.fft_flops


def test_count_includes_convolutions_and_their_backward_pass() -> None:
    layer, images = nn.Conv2d(2, 3, 3, padding=1, bias=False), torch.ones(1, 2, 4, 4)
    forward = 2 * 3 * 2 * 9 * 16
    assert count(lambda: layer(images)).flops == forward
    assert count(lambda: torch.autograd.backward(layer(images).sum())).flops == 2 * forward


def test_views_move_no_bytes() -> None:
    values = torch.ones(64)
    assert count(lambda: values.view(8, 8).transpose(0, 1)[2]).bytes_moved == 0


def test_limits_are_positive_numbers() -> None:
    limits = measure_limits(CPU, Sizes(16, 1 << 10, 2, 16), 1)
    assert set(limits.matmul_flops) == {"float32", "bfloat16"}
    assert min(*limits.matmul_flops.values(), limits.copy_bytes_per_s, limits.fft_flops) > 0


def test_work_at_the_limits_has_shares_of_one() -> None:
    limits = Limits({"float32": 100.0, "bfloat16": 200.0}, 50.0, 10.0)
    amount = Amount(flops=150.0, fft_flops=50.0, bytes_moved=100.0)
    found = gpu_limits.judge(Workload("w", EAGER, 12, lambda: None), amount, 6.0, limits)
    assert (found.share_of_flops, found.share_of_roof) == (1.0, 1.0)
    assert (found.patterns_per_s, found.flops_per_s, found.share_of_bytes) == (2.0, 25.0, pytest.approx(1 / 3))
    faster = gpu_limits.judge(Workload("w", BF16, 12, lambda: None), amount, 6.0, limits)
    assert faster.share_of_flops == pytest.approx(5.5 / 6)


def test_variants_that_need_a_gpu_are_left_out_on_a_cpu() -> None:
    setting = Setting(CPU, 32, 8, 8, ModelConfig(width=8, output_px=16))
    assert [(work.name, work.variant) for work in (make() for make in make_all(setting, compiled=False))] == [
        ("training step", EAGER),
        ("training step", BF16),
        ("prediction", EAGER),
        ("prediction", BF16),
        ("refinement, one pass", "8 in an update"),
        ("refinement, one pass", "64 in an update"),
    ]
    on_gpu = Setting(torch.device("cuda"), 32, 8, 8, setting.model)
    variants = [make.args[1] for make in make_all(on_gpu, compiled=True)]
    assert variants[:-2] == [EAGER, BF16, COMPILED, GRAPH, EAGER, BF16, COMPILED, GRAPH]


def test_dry_run_measures_every_workload() -> None:
    limits, found = gpu_limits.run(CPU, TINY, compiled=False)
    assert {one.name for one in found} == {"training step", "prediction", "refinement, one pass"}
    assert all(one.patterns_per_s > 0 and one.flops_per_s > 0 and one.bytes_per_s > 0 for one in found)
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(gpu_limits.table(found, limits))
    assert "training step" in console.export_text()


def test_training_step_of_the_benchmark_changes_the_network() -> None:
    setting = Setting(CPU, 32, 8, 8, ModelConfig(width=8, output_px=16))
    predict = make_all(setting, compiled=False)[2]().run
    train = make_all(setting, compiled=False)[0]()
    assert torch.equal(predict(), predict())  # type: ignore[arg-type]
    amount = count(train.run)
    assert 0 < amount.fft_flops < amount.flops


def test_without_a_gpu_the_real_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this process sees a GPU")
    assert gpu_limits.main([]) == 2
    assert "A dry run: --device cpu" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
@pytest.mark.slow
def test_gpu_reaches_a_part_of_its_limits() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_limits", "--patterns", "64"]
    env = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(command, env=env, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "CUDA graph" in done.stdout
