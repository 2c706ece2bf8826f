"""Rectangles and indices move the same patches: each body an exact adjoint pair, both equal up to rounding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from benchmarks.counting import Tally, operations
from ptycho_dist.errors import PhysicsError
from ptycho_dist.physics.bodies import Body
from ptycho_dist.physics.patches import PatchGeometry, extract_at, place_at
from ptycho_dist.physics.windows import Windows

N, CANVAS = 5, (23, 17)
CLOSE = {torch.complex64: 1e-6, torch.complex128: 1e-12}
BODIES = [Body.RECTANGLES, Body.COMPILED, Body.INDEXED]
"""Those that work on a CPU."""
OTHERS = pytest.mark.parametrize("other", [Body.COMPILED, Body.INDEXED])


@dataclass(frozen=True)
class Case:
    """Corners (y, x), and whether they leave the spare pixel that windows of a large canvas need."""

    corners: list[tuple[float, float]]
    spares: bool = True


def drawn(count: int, *, whole: bool) -> list[tuple[float, float]]:
    rng = np.random.default_rng(count)
    corners = rng.uniform(0, np.array(CANVAS) - N - 1, (count, 2))
    return [(y, x) for y, x in (np.floor(corners) if whole else corners).tolist()]


CASES = {
    "whole": Case(drawn(7, whole=True)),
    "fractional": Case(drawn(7, whole=False)),
    "whole beside fractional": Case(drawn(4, whole=True) + drawn(5, whole=False)),
    "whole along y": Case([(3.0, 2.25), (4.0, 7.75)]),
    "whole along x": Case([(3.5, 2.0), (4.125, 7.0)]),
    "one": Case([(2.5, 3.25)]),
    "one in a corner": Case([(0.0, 0.0)]),
    "last rows and columns, whole": Case([(18.0, 12.0), (18.0, 0.0), (0.0, 12.0)], spares=False),
    "last rows and columns, fractional": Case([(17.999, 11.5), (17.5, 0.0), (0.5, 11.999)]),
    "all at one place": Case([(4.25, 6.5)] * 9),
    "more patches than pixels": Case(drawn(400, whole=False)),
}
GEOMETRIES = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
SPARING = pytest.mark.parametrize(
    "case", [case for case in CASES.values() if case.spares], ids=[name for name in CASES if CASES[name].spares]
)
DTYPES = pytest.mark.parametrize("dtype", CLOSE.keys(), ids=["complex64", "complex128"])


def random(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def places(case: Case) -> Tensor:
    return torch.tensor(case.corners, dtype=torch.float64)


def geometry(case: Case, body: Body) -> PatchGeometry:
    return PatchGeometry.build(places(case), N, CANVAS, body)


def windows(case: Case, body: Body) -> Windows:
    return Windows(places(case), N, CANVAS, body=body)


def assert_close(one: Tensor, other: Tensor) -> None:
    assert one.shape == other.shape
    assert one.dtype == other.dtype
    assert float((one - other).abs().max()) <= CLOSE[one.dtype] * max(1.0, float(other.abs().max()))


def assert_adjoint(patches: Tensor, gathered: Tensor, canvas: Tensor, spread: Tensor) -> None:
    left, right = torch.vdot(gathered.flatten(), patches.flatten()), torch.vdot(canvas.flatten(), spread.flatten())
    size = float(gathered.norm() * patches.norm())
    assert abs(complex(left - right)) <= CLOSE[patches.dtype] * size


@GEOMETRIES
@DTYPES
@OTHERS
def test_all_bodies_gather_and_scatter_the_same(case: Case, dtype: torch.dtype, other: Body) -> None:
    canvas, patches = random(*CANVAS, dtype=dtype), random(len(case.corners), N, N, dtype=dtype, seed=1)
    by_rectangle, otherwise = (geometry(case, body) for body in (Body.RECTANGLES, other))
    assert_close(otherwise.gather(canvas), by_rectangle.gather(canvas))
    assert_close(otherwise.scatter(patches), by_rectangle.scatter(patches))


@GEOMETRIES
@DTYPES
@pytest.mark.parametrize("body", BODIES)
def test_scatter_is_the_adjoint_of_gather(case: Case, dtype: torch.dtype, body: Body) -> None:
    canvas, patches = random(*CANVAS, dtype=dtype), random(len(case.corners), N, N, dtype=dtype, seed=1)
    where = geometry(case, body)
    assert_adjoint(patches, where.gather(canvas), canvas, where.scatter(patches))


@SPARING
@DTYPES
def test_both_bodies_serve_windows_alike(case: Case, dtype: torch.dtype) -> None:
    canvas, patches = random(*CANVAS, dtype=dtype), random(len(case.corners), N, N, dtype=dtype, seed=1)
    by_rectangle, by_index = (windows(case, body) for body in (Body.RECTANGLES, Body.INDEXED))
    assert_close(by_index.gather(canvas), by_rectangle.gather(canvas))
    for one, other in zip(by_index.slopes(canvas), by_rectangle.slopes(canvas), strict=True):
        assert_close(one, other)
    changed = [canvas.clone(), canvas.clone()]
    for where, target in zip((by_rectangle, by_index), changed, strict=True):
        where.add_to(target, patches, -0.7)
    assert_close(changed[1], changed[0])


@SPARING
@DTYPES
@pytest.mark.parametrize("body", BODIES)
def test_add_to_is_the_adjoint_of_the_gather_of_windows(case: Case, dtype: torch.dtype, body: Body) -> None:
    canvas, patches = random(*CANVAS, dtype=dtype), random(len(case.corners), N, N, dtype=dtype, seed=1)
    where, spread = windows(case, body), torch.zeros_like(canvas)
    where.add_to(spread, patches, 1.0)
    assert_adjoint(patches, where.gather(canvas), canvas, spread)


@SPARING
@pytest.mark.parametrize("body", BODIES)
def test_clear_puts_zeros_into_the_windows_alone(case: Case, body: Body) -> None:
    where, canvas = windows(case, body), torch.ones(CANVAS, dtype=torch.complex64)
    where.clear(canvas)
    inside = torch.zeros(CANVAS, dtype=torch.bool)
    for y, x in np.floor(case.corners).astype(int):
        inside[y : y + N + 1, x : x + N + 1] = True
    assert torch.equal(canvas == 0, inside)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("numbers", [np.array([5, 0, 5]), slice(1, 4)], ids=["numbers", "slice"])
def test_windows_that_are_taken_keep_their_body(body: Body, numbers: np.ndarray | slice) -> None:
    case, canvas = CASES["fractional"], random(*CANVAS, dtype=torch.complex128)
    taken, expected = windows(case, body).take(numbers), Windows(places(case)[numbers], N, CANVAS, body=body)
    assert torch.equal(taken.gather(canvas), expected.gather(canvas))
    assert operations(lambda: taken.gather(canvas)) == operations(lambda: expected.gather(canvas))


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("whole", [True, False])
def test_gradients_of_all_bodies_are_right(body: Body, whole: bool) -> None:
    where = geometry(CASES["whole" if whole else "fractional"], body)
    canvas = random(*CANVAS, dtype=torch.complex128).requires_grad_()
    patches = random(len(where.corner), N, N, dtype=torch.complex128).requires_grad_()
    assert torch.autograd.gradcheck(lambda one: extract_at(one, where), (canvas,))
    assert torch.autograd.gradcheck(lambda many: place_at(many, where), (patches,))


@OTHERS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_real_canvases_are_moved_in_all_ways_too(other: Body, dtype: torch.dtype) -> None:
    by_rectangle, otherwise = (geometry(CASES["fractional"], body) for body in (Body.RECTANGLES, other))
    weights, close = random(7, N, N, dtype=dtype), 1e-6 if dtype == torch.float32 else 1e-12
    canvas = by_rectangle.scatter(weights)
    assert torch.allclose(otherwise.scatter(weights), canvas, atol=close)
    assert torch.allclose(otherwise.gather(canvas), by_rectangle.gather(canvas), atol=close)


@pytest.mark.parametrize("body", BODIES)
def test_canvases_and_patches_may_be_conjugate_or_strided_views(body: Body) -> None:
    where, dtype = geometry(CASES["fractional"], body), torch.complex128
    canvas, patches = random(*CANVAS[::-1], dtype=dtype).T, random(7, N, N, dtype=dtype).transpose(1, 2)
    assert_close(where.gather(canvas.conj()), where.gather(canvas.contiguous()).conj().resolve_conj())
    assert_close(where.scatter(patches.conj()), where.scatter(patches.contiguous()).conj().resolve_conj())


@pytest.mark.parametrize("corner", [(-0.1, 0.0), (0.0, -3.0), (18.5, 0.0), (19.0, 0.0), (0.0, 12.2), (0.0, 1e9)])
def test_all_bodies_refuse_a_patch_outside_the_canvas(corner: tuple[float, float]) -> None:
    case = Case([(1.0, 1.0), corner])
    for body in (Body.RECTANGLES, Body.COMPILED):
        with pytest.raises(PhysicsError, match=r"patch 1 of side \d at corner .* leaves the canvas of 23 x 17 pixels"):
            geometry(case, body)
    with pytest.raises(RuntimeError, match="a patch of side 5 leaves the canvas of 23 x 17 pixels"):
        geometry(case, Body.INDEXED)


def test_the_device_decides_unless_a_body_is_asked_for() -> None:
    assert Body.suiting(torch.device("cpu")) is Body.COMPILED
    assert Body.suiting(torch.device("cuda")) is Body.INDEXED
    assert PatchGeometry.build(places(CASES["one"]), N, CANVAS).body is Body.COMPILED
    on_meta = PatchGeometry.build(places(CASES["one"]).to("meta"), N, CANVAS)
    assert on_meta.body is Body.INDEXED


@pytest.mark.parametrize("work", ["add_to", "clear", "gather"])
def test_windows_by_index_neither_make_nor_sweep_a_canvas(work: str) -> None:
    found = [on_canvas(side, work) for side in (32, 1024)]
    assert found[0] == found[1]
    bytes_made, touching = found[0]
    assert bytes_made < 32**2 * 8 * 4
    assert (
        touching
        == {
            "add_to": ["aten.index_add_.default"],
            "clear": ["aten.index_fill_.int_Scalar"],
            "gather": ["aten.index_select.default"],
        }[work]
    )


def on_canvas(side: int, work: str) -> tuple[int, list[str]]:
    """Bytes that windows by index make on a canvas of some side, and the operations that work on the canvas."""
    where = Windows(places(CASES["fractional"]), N, (side, side), body=Body.INDEXED)
    canvas, patches = torch.zeros(side, side, dtype=torch.complex64), random(7, N, N, dtype=torch.complex64)
    works = {
        "add_to": lambda: where.add_to(canvas, patches, 0.5),
        "clear": lambda: where.clear(canvas),
        "gather": lambda: where.gather(canvas),
    }
    tally = Touching(canvas)
    with tally:
        works[work]()
    return tally.made_bytes, tally.touching


class Touching(Tally):
    """Notes which operations work on a tensor."""

    def __init__(self, watched: Tensor) -> None:
        super().__init__()
        self._place, self.touching = watched.untyped_storage().data_ptr(), list[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if not func.is_view and any(one.untyped_storage().data_ptr() == self._place for one in given):
            self.touching.append(str(func))
        return super().__torch_dispatch__(func, types, args, kwargs)


@pytest.mark.parametrize("work", ["gather", "scatter"])
def test_operations_by_index_do_not_depend_on_the_number_of_patches(work: str) -> None:
    few, many = (operations(patch_work(number, work)) for number in (3, 400))
    assert few.names == many.names
    assert few.total <= 16


def patch_work(number: int, work: str) -> Callable[[], Tensor]:
    where = geometry(Case(drawn(number, whole=False)), Body.INDEXED)
    canvas, patches = random(*CANVAS, dtype=torch.complex64), random(number, N, N, dtype=torch.complex64)
    return (lambda: where.gather(canvas)) if work == "gather" else (lambda: where.scatter(patches))
