"""Patches on a GPU: the same numbers as on a CPU, the same bits in each run, and no canvas made or swept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ptycho_dist.physics.bodies import Body
from ptycho_dist.physics.windows import Windows
from tests.torch.physics.test_bodies import CANVAS, CASES, CLOSE, Case, N, assert_close, places, random

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]
SPARING = pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.spares])
BODIES = pytest.mark.parametrize("body", [Body.INDEXED, Body.TRITON])
DTYPES = pytest.mark.parametrize("dtype", [*CLOSE])


def on_gpu(case: Case, body: Body) -> Windows:
    return Windows(places(case), N, CANVAS, torch.device("cuda"), body)


def added(windows: Windows, canvas: Tensor, patches: Tensor) -> Tensor:
    changed = canvas.clone()
    windows.add_to(changed, patches, -0.7)
    return changed


@SPARING
@BODIES
@DTYPES
def test_windows_on_a_gpu_are_those_of_a_cpu(name: str, body: Body, dtype: torch.dtype) -> None:
    canvas, patches = random(*CANVAS, dtype=dtype), random(len(CASES[name].corners), N, N, dtype=dtype, seed=1)
    expected, found = Windows(places(CASES[name]), N, CANVAS, body=Body.RECTANGLES), on_gpu(CASES[name], body)
    assert_close(found.gather(canvas.cuda()).cpu(), expected.gather(canvas))
    assert_close(added(found, canvas.cuda(), patches.cuda()).cpu(), added(expected, canvas, patches))


@DTYPES
def test_kernels_add_in_one_order(dtype: torch.dtype) -> None:
    case = CASES["more patches than pixels"]
    canvas, patches = random(*CANVAS, dtype=dtype).cuda(), random(len(case.corners), N, N, dtype=dtype, seed=1).cuda()
    found = {added(on_gpu(case, Body.TRITON), canvas, patches).cpu().numpy().tobytes() for _ in range(20)}
    assert len(found) == 1


@BODIES
@pytest.mark.parametrize("numbers", [np.array([5, 0, 5]), slice(1, 4)], ids=["numbers", "slice"])
def test_windows_that_are_taken_on_a_gpu(body: Body, numbers: np.ndarray | slice) -> None:
    canvas, case = random(*CANVAS, dtype=torch.complex64).cuda(), CASES["fractional"]
    taken = on_gpu(case, body).take(numbers)
    assert torch.equal(taken.gather(canvas), on_gpu(case, body).gather(canvas)[numbers])


@BODIES
def test_adding_to_a_large_canvas_takes_memory_for_the_patches_alone(body: Body) -> None:
    side, patch, count = 8192, 128, 8
    canvas = torch.zeros(side, side, dtype=torch.complex64, device="cuda")
    patches = torch.ones(count, patch, patch, dtype=torch.complex64, device="cuda")
    where = Windows(torch.rand(count, 2, dtype=torch.float64) * 4000, patch, (side, side), canvas.device, body)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    where.add_to(canvas, patches, 1.0)
    assert torch.cuda.max_memory_allocated() - before < 10 * patches.nbytes
    assert float(canvas.real.sum()) == pytest.approx(count * patch**2, rel=1e-4)
