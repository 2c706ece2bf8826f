"""place is the adjoint of extract, at any position."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ptycho_dist.errors import PhysicsError
from ptycho_dist.physics.patches import PatchGeometry, extract, place

N, CANVAS = 5, (13, 17)


def positions(*, whole: bool) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    room = torch.tensor(CANVAS, dtype=torch.float64) - N - 1
    found = torch.rand(6, 2, generator=generator, dtype=torch.float64) * room
    return torch.floor(found) if whole else found


def random_complex(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


@pytest.mark.parametrize("whole", [True, False])
def test_place_is_the_adjoint_of_extract(whole: bool) -> None:
    canvas, patches, corners = random_complex(*CANVAS), random_complex(6, N, N, seed=1), positions(whole=whole)
    forward = torch.vdot(patches.reshape(-1), extract(canvas, corners, N).reshape(-1))
    backward = torch.vdot(place(patches, corners, CANVAS).reshape(-1), canvas.reshape(-1))
    assert abs(forward - backward) < 1e-12 * abs(forward)


@pytest.mark.parametrize("whole", [True, False])
def test_gradients_are_right(whole: bool) -> None:
    corners = positions(whole=whole)
    canvas = random_complex(*CANVAS).requires_grad_()
    patches = random_complex(6, N, N).requires_grad_()
    assert torch.autograd.gradcheck(lambda one: extract(one, corners, N), (canvas,))
    assert torch.autograd.gradcheck(lambda many: place(many, corners, CANVAS), (patches,))


def test_extract_at_whole_positions_is_a_slice() -> None:
    canvas = random_complex(*CANVAS)
    found = extract(canvas, torch.tensor([[2.0, 3.0], [8.0, 12.0]]), N)
    assert torch.equal(found[0], canvas[2:7, 3:8])
    assert torch.equal(found[1], canvas[8:13, 12:17])


def test_extract_between_pixels_interpolates_a_ramp_exactly() -> None:
    y, x = torch.meshgrid(torch.arange(13.0), torch.arange(17.0), indexing="ij")
    ramp = torch.complex(2 * y, 3 * x).to(torch.complex128)
    corner = torch.tensor([[2.25, 3.5]], dtype=torch.float64)
    found = extract(ramp, corner, N)[0]
    assert torch.allclose(found.real[:, 0], 2 * (2.25 + torch.arange(5.0, dtype=torch.float64)))
    assert torch.allclose(found.imag[0], 3 * (3.5 + torch.arange(5.0, dtype=torch.float64)))


def test_place_sums_where_patches_overlap_and_keeps_the_total() -> None:
    ones = torch.ones(6, N, N, dtype=torch.complex128)
    assert place(ones, positions(whole=False), CANVAS).sum().real == pytest.approx(6 * N * N, rel=1e-12)
    stacked = place(ones, torch.zeros(6, 2), CANVAS)
    assert torch.equal(stacked[:N, :N], torch.full((N, N), 6.0 + 0j, dtype=torch.complex128))
    assert stacked[N:].abs().max() == 0


@pytest.mark.parametrize(
    "corner", [(-1.0, 0.0), (-0.1, 0.0), (0.0, -3.0), (8.5, 0.0), (9.0, 0.0), (0.0, 12.2), (0.0, 1e9)]
)
def test_patch_outside_the_canvas_is_refused(corner: tuple[float, float]) -> None:
    corners = torch.tensor([(1.0, 1.0), corner])
    with pytest.raises(PhysicsError, match=r"patch 1 of side \d at corner .* leaves the canvas of 13 x 17 pixels"):
        extract(random_complex(*CANVAS), corners, N)
    with pytest.raises(PhysicsError, match="leaves the canvas"):
        place(random_complex(2, N, N), corners, CANVAS)


@pytest.mark.parametrize("whole", [True, False])
def test_windows_by_index_sum_to_what_scatter_gives(whole: bool) -> None:
    geometry = PatchGeometry.build(positions(whole=whole), N, CANVAS)
    patches = random_complex(6, N, N)
    canvas = torch.zeros(CANVAS[0] * CANVAS[1], dtype=torch.complex128)
    canvas.index_add_(0, geometry.index, geometry.windows(patches).reshape(-1))
    assert torch.allclose(geometry.scatter(patches), canvas.view(CANVAS), rtol=1e-12)
