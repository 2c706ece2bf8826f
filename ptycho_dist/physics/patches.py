"""Take patches out of a canvas, and put them back: an exact adjoint pair.

A patch at a fractional position is interpolated bilinearly from the
(n + 1) by (n + 1) canvas pixels it touches. All coefficients are real, so the
adjoint spreads a patch onto the same pixels with the same coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Complex, Float, Num
from torch import Tensor

from ptycho_dist.errors import PhysicsError
from ptycho_dist.physics.bodies import Body, PatchMover
from ptycho_dist.physics.indexed import indexed
from ptycho_dist.physics.rectangles import RectanglePatches

if TYPE_CHECKING:
    from ptycho_dist.physics.compiled import CompiledPatches


@dataclass(frozen=True)
class PatchGeometry:
    """Where B patches of side ``n`` lie on a canvas.

    Parameters
    ----------
    corner
        int64, shape (B, 2): whole part of the corners (y, x).
    fraction
        float, shape (B, 2), sub-pixel parts of (y, x); None when all are whole, as far as the host knows.
    n
        Side of a patch.
    canvas_px
        Canvas rows and columns (H, W).
    body
        How patches are moved.
    """

    corner: Tensor
    fraction: Tensor | None
    n: int
    canvas_px: tuple[int, int]
    body: Body = Body.RECTANGLES

    @classmethod
    def build(
        cls,
        positions_px: Float[Tensor, "B 2"],
        n: int,
        canvas_px: tuple[int, int],
        body: Body | None = None,
        *,
        is_inside: bool = False,
    ) -> PatchGeometry:
        """Prepare the windows of patches whose corners are ``positions_px``.

        Where they are moved by index nothing is read back from the device: that patches lie inside the canvas is
        checked there, without waiting.

        Parameters
        ----------
        positions_px : Tensor, float, shape (B, 2)
            Patch corners (y, x) in canvas pixels, on the device of the canvases.
        n
            Side of a patch.
        canvas_px
            Canvas rows and columns.
        body
            How patches are moved; None for what suits the device.
        is_inside
            Whether it is known that they lie inside the canvas.

        Raises
        ------
        PhysicsError
            If a patch does not lie inside the canvas, where the host knows.
        RuntimeError
            Then, where only the device knows.
        """
        moved = body or Body.suiting(positions_px.device)
        corner = torch.floor(positions_px).to(torch.int64)
        fraction = positions_px - corner
        if moved.is_indexed:
            if not is_inside:
                _assert_inside(positions_px, n, canvas_px)
            return cls(corner, fraction, n, canvas_px, moved)
        found = cls(corner, fraction if bool((fraction != 0).any()) else None, n, canvas_px, moved)
        if not is_inside:
            require_inside(corner, found.window, canvas_px)
        return found

    @property
    def window(self) -> int:
        """Side m of the canvas window that one patch touches: n, or n + 1 where a position is no whole number."""
        return self.n + (self.fraction is not None)

    @cached_property
    def index(self) -> Tensor:
        """Flat canvas indices of all windows, int64, shape (B * m * m)."""
        offset = torch.arange(self.window, device=self.corner.device)
        start = self.corner[:, 0] * self.canvas_px[1] + self.corner[:, 1]
        inside = (offset * self.canvas_px[1])[:, None] + offset
        return (start[:, None, None] + inside).reshape(-1)

    def gather(self, canvas_HW: Tensor) -> Tensor:
        """Interpolate patches (B, n, n) from a canvas (H, W)."""
        return self._mover.gather(canvas_HW)

    def scatter(self, patches_Bnn: Tensor) -> Tensor:
        """Sum patches (B, n, n) onto a new canvas (H, W): the adjoint of :meth:`gather`."""
        return self._mover.scatter(patches_Bnn)

    @cached_property
    def _mover(self) -> PatchMover:
        if not self.body.is_indexed:
            mover = RectanglePatches if self.body is Body.RECTANGLES else _compiled_patches()
            return mover(self.corner, self.fraction, self.n, self.canvas_px)
        fraction = torch.zeros_like(self.corner, dtype=torch.float64) if self.fraction is None else self.fraction
        return indexed(self.body).at(self.corner, fraction, self.n, self.canvas_px)

    def windows(self, patches_Bnn: Tensor) -> Tensor:
        """Spread patches (B, n, n) over the canvas windows (B, m, m) that they touch."""
        return patches_Bnn if self.fraction is None else self._spread(patches_Bnn)

    def _weights(self, like: Tensor) -> tuple[Tensor, Tensor]:
        if self.fraction is None:
            msg = "patches at whole positions have no sub-pixel weights"
            raise PhysicsError(msg)
        fraction = self.fraction.to(like.real.dtype)
        return fraction[:, 0, None, None], fraction[:, 1, None, None]

    def _spread(self, patches_Bnn: Tensor) -> Tensor:
        fy, fx = self._weights(patches_Bnn)
        n, batch = self.n, len(patches_Bnn)
        columns = patches_Bnn.new_zeros(batch, n, n + 1)
        columns[:, :, :-1] = patches_Bnn * (1 - fx)
        columns[:, :, 1:] += patches_Bnn * fx
        big = patches_Bnn.new_zeros(batch, n + 1, n + 1)
        big[:, :-1] = columns * (1 - fy)
        big[:, 1:] += columns * fy
        return big


def _compiled_patches() -> type[CompiledPatches]:
    """Import the loops where they are first needed, for numba takes a while."""
    from ptycho_dist.physics.compiled import CompiledPatches

    return CompiledPatches


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, canvas_HW: Tensor, geometry: PatchGeometry) -> Tensor:
        ctx.geometry = geometry
        return geometry.gather(canvas_HW)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _Scatter.apply(grads[0].contiguous(), ctx.geometry), None


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, patches_Bnn: Tensor, geometry: PatchGeometry) -> Tensor:
        ctx.geometry = geometry
        return geometry.scatter(patches_Bnn)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _Gather.apply(grads[0].contiguous(), ctx.geometry), None


def extract_at(canvas_HW: Num[Tensor, "H W"], geometry: PatchGeometry) -> Num[Tensor, "B n n"]:
    """Take patches out of a canvas at a prepared geometry (differentiable in the canvas)."""
    patches: Tensor = _Gather.apply(canvas_HW, geometry)
    return patches


def place_at(patches_Bnn: Num[Tensor, "B n n"], geometry: PatchGeometry) -> Num[Tensor, "H W"]:
    """Sum patches onto a canvas at a prepared geometry (differentiable in the patches)."""
    canvas: Tensor = _Scatter.apply(patches_Bnn, geometry)
    return canvas


def extract(canvas_HW: Complex[Tensor, "H W"], positions_px: Float[Tensor, "B 2"], n: int) -> Complex[Tensor, "B n n"]:
    """Take patches of side ``n`` out of a canvas.

    Parameters
    ----------
    canvas_HW : Tensor, complex, shape (H, W)
        Object transmission (dimensionless).
    positions_px : Tensor, float, shape (B, 2)
        Patch corners (y, x) in canvas pixels, fractions allowed.
    n : int
        Side of a patch in pixels.

    Raises
    ------
    PhysicsError
        If a patch does not lie inside the canvas.
    """
    rows, columns = canvas_HW.shape
    return extract_at(canvas_HW, PatchGeometry.build(positions_px, n, (rows, columns)))


def place(
    patches_Bnn: Complex[Tensor, "B n n"], positions_px: Float[Tensor, "B 2"], canvas_px: tuple[int, int]
) -> Complex[Tensor, "H W"]:
    """Sum patches onto a canvas; the exact adjoint of :func:`extract`.

    Parameters
    ----------
    patches_Bnn : Tensor, complex, shape (B, n, n)
        Object patches, transmission (dimensionless).
    positions_px : Tensor, float, shape (B, 2)
        Patch corners (y, x) in canvas pixels, fractions allowed.
    canvas_px : tuple of int
        Canvas rows and columns.

    Raises
    ------
    PhysicsError
        If a patch does not lie inside the canvas.
    """
    return place_at(patches_Bnn, PatchGeometry.build(positions_px, patches_Bnn.shape[-1], canvas_px))


def mix(a: Tensor, b: Tensor, fraction: Tensor) -> Tensor:
    """Interpolate linearly between two tensors."""
    return a * (1 - fraction) + b * fraction


def require_inside(corner: Tensor, window: int, canvas_px: tuple[int, int]) -> None:
    """Check that windows with whole corners (B, 2) lie inside a canvas.

    Raises
    ------
    PhysicsError
        Naming the first that does not.
    """
    limit = torch.tensor(canvas_px, device=corner.device) - window
    outside = ((corner < 0) | (corner > limit)).any(dim=1)
    if bool(outside.any()):
        first = int(outside.nonzero()[0, 0])
        msg = (
            f"patch {first} of side {window} at corner {tuple(corner[first].tolist())} leaves the canvas of "
            f"{canvas_px[0]} x {canvas_px[1]} pixels; expected all inside. Pad the canvas or shift the positions."
        )
        raise PhysicsError(msg)


def _assert_inside(positions_px: Tensor, n: int, canvas_px: tuple[int, int]) -> None:
    """Let the device check that patches lie inside a canvas."""
    y, x = positions_px.unbind(dim=1)
    inside = (y.clamp(0, canvas_px[0] - n) == y) & (x.clamp(0, canvas_px[1] - n) == x)
    torch._assert_async(
        inside.all(), f"a patch of side {n} leaves the canvas of {canvas_px[0]} x {canvas_px[1]} pixels"
    )
