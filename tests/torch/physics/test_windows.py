"""Windows of a canvas: the same patches as by index, exact adjoint, exact slopes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ptycho_dist.errors import PhysicsError
from ptycho_dist.physics.patches import extract, place
from ptycho_dist.physics.windows import Windows

CANVAS = (40, 37)
N = 12


@pytest.fixture
def canvas() -> Tensor:
    return torch.randn(*CANVAS, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def positions() -> Tensor:
    drawn = torch.rand(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return torch.cat([drawn * torch.tensor([27.0, 24.0]), torch.tensor([[3.0, 5.0], [27.0, 24.0]]).double()])


def test_gather_equals_extract(canvas: Tensor, positions: Tensor) -> None:
    assert torch.allclose(Windows(positions, N, CANVAS).gather(canvas), extract(canvas, positions, N), atol=1e-14)


def test_add_to_equals_place(canvas: Tensor, positions: Tensor) -> None:
    patches = torch.randn(len(positions), N, N, dtype=torch.complex128, generator=torch.Generator().manual_seed(3))
    changed = canvas.clone()
    Windows(positions, N, CANVAS).add_to(changed, patches, -0.7)
    assert torch.allclose(changed, canvas - 0.7 * place(patches, positions, CANVAS), atol=1e-14)


def test_add_to_is_the_adjoint_of_gather(canvas: Tensor, positions: Tensor) -> None:
    windows = Windows(positions, N, CANVAS)
    patches = torch.randn(len(positions), N, N, dtype=torch.complex128, generator=torch.Generator().manual_seed(4))
    spread = torch.zeros_like(canvas)
    windows.add_to(spread, patches, 1.0)
    left = torch.vdot(windows.gather(canvas).flatten(), patches.flatten())
    assert torch.allclose(left, torch.vdot(canvas.flatten(), spread.flatten()), rtol=1e-12)


def test_slopes_equal_differences(canvas: Tensor) -> None:
    at, small = torch.tensor([[3.3, 4.6], [8.5, 2.25]], dtype=torch.float64), 1e-6
    for axis, slope in enumerate(Windows(at, N, CANVAS).slopes(canvas)):
        shift = torch.zeros(2, dtype=torch.float64)
        shift[axis] = small
        ahead, behind = (Windows(at + sign * shift, N, CANVAS).gather(canvas) for sign in (1, -1))
        assert torch.allclose(slope, (ahead - behind) / (2 * small), atol=1e-8)


@pytest.mark.parametrize("corner", [(-0.1, 0.0), (0.0, 25.5), (28.0, 0.0)])
def test_windows_refuse_a_patch_off_the_canvas(corner: tuple[float, float]) -> None:
    with pytest.raises(PhysicsError, match="leaves the canvas"):
        Windows(torch.tensor([corner], dtype=torch.float64), N, CANVAS)


@pytest.mark.parametrize("numbers", [np.array([2, 0]), slice(1, 3)], ids=["numbers", "slice"])
def test_windows_that_are_taken_are_those(canvas: Tensor, positions: Tensor, numbers: np.ndarray | slice) -> None:
    every = Windows(positions, N, CANVAS)
    taken, expected = every.take(numbers), Windows(positions[numbers], N, CANVAS)
    assert len(taken) == 2
    assert torch.equal(taken.gather(canvas), expected.gather(canvas))
    assert torch.equal(taken.slopes(canvas)[0], expected.slopes(canvas)[0])


def test_clear_undoes_what_was_added_to_zeros(positions: Tensor) -> None:
    windows, canvas = Windows(positions, N, CANVAS), torch.zeros(CANVAS, dtype=torch.complex128)
    windows.add_to(canvas, torch.ones(len(positions), N, N, dtype=torch.complex128), 1.0)
    assert canvas.any()
    windows.clear(canvas)
    assert not canvas.any()
