"""Windows of a large canvas on which many patches lie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Complex
from numpy.typing import NDArray
from torch import Tensor

from ptycho_dist.physics.patches import PatchGeometry, mix, require_inside


@dataclass(frozen=True)
class Windows:
    """Where B patches of side ``n`` lie on a large canvas: the work grows with the patches, not with the canvas.

    On a CPU patches are strided views of the canvas, which is several times faster than gathering by index;
    elsewhere all patches are gathered at once.

    Parameters
    ----------
    positions_px
        float64, shape (B, 2), on the CPU: patch corners (y, x) in canvas pixels.
    n
        Side of a patch.
    canvas_px
        Canvas rows and columns (H, W); a pixel beyond the patches is needed, as for fractional positions.
    is_inside
        Whether it is known that they lie inside the canvas.

    Raises
    ------
    PhysicsError
        If a patch does not lie inside the canvas.
    """

    positions_px: Tensor
    n: int
    canvas_px: tuple[int, int]
    is_inside: bool = False

    def __post_init__(self) -> None:
        if not self.is_inside:
            require_inside(self._corner, self.n + 1, self.canvas_px)

    def __len__(self) -> int:
        return len(self.positions_px)

    def gather(self, canvas_HW: Complex[Tensor, "H W"]) -> Complex[Tensor, "B n n"]:
        """Interpolate the patches from a (contiguous) canvas."""
        if canvas_HW.device.type != "cpu":
            return self._geometry(canvas_HW).gather(canvas_HW)
        n, canvas = self.n, _as_real_rows(canvas_HW)
        rows = canvas.new_empty(len(self), n, 2 * n + 2)
        for row, (start, fy) in zip(rows.unbind(), self._starts, strict=True):
            torch.lerp(self._strip(canvas, start), self._strip(canvas, start + canvas.shape[1]), fy, out=row)
        patches = torch.lerp(rows[:, :, :-2], rows[:, :, 2:], self._across(canvas))
        return torch.view_as_complex(patches.view(len(self), n, n, 2))

    def add_to(self, canvas_HW: Complex[Tensor, "H W"], patches_Bnn: Complex[Tensor, "B n n"], factor: float) -> None:
        """Add ``factor`` times the adjoint of :meth:`gather` to a (contiguous) canvas, in place."""
        if canvas_HW.device.type != "cpu":
            canvas_HW.add_(self._geometry(canvas_HW).scatter(patches_Bnn), alpha=factor)
            return
        n, canvas = self.n, _as_real_rows(canvas_HW)
        right = torch.view_as_real(patches_Bnn).reshape(len(self), n, 2 * n)
        across = self._across(canvas)
        rows = right.new_empty(len(self), n, 2 * n + 2)
        torch.mul(right, 1 - across, out=rows[:, :, :-2])
        rows[:, :, -2:] = 0
        rows[:, :, 2:].addcmul_(right, across)
        for row, (start, fy) in zip(rows.unbind(), self._starts, strict=True):
            self._strip(canvas, start).add_(row, alpha=factor * (1 - fy))
            if fy:
                self._strip(canvas, start + canvas.shape[1]).add_(row, alpha=factor * fy)

    def take(self, numbers: NDArray[np.int64] | slice) -> Windows:
        """Take some of the windows, which need not be checked again."""
        places = range(len(self))[numbers] if isinstance(numbers, slice) else numbers.tolist()
        part = numbers if isinstance(numbers, slice) else torch.from_numpy(numbers)
        taken = Windows(self.positions_px[part], self.n, self.canvas_px, is_inside=True)
        starts = [self._starts[place] for place in places]
        vars(taken).update(_corner=self._corner[part], _fraction=self._fraction[part], _starts=starts)
        return taken

    def clear(self, canvas_HW: Complex[Tensor, "H W"]) -> None:
        """Put zeros where :meth:`add_to` adds to."""
        if canvas_HW.device.type != "cpu":
            canvas_HW.zero_()
            return
        canvas, side = _as_real_rows(canvas_HW), self.n + 1
        for start, _ in self._starts:
            canvas.as_strided((side, 2 * side), (canvas.shape[1], 1), start).zero_()

    def slopes(self, canvas_HW: Complex[Tensor, "H W"]) -> tuple[Complex[Tensor, "B n n"], Complex[Tensor, "B n n"]]:
        """Give the derivatives of the patches along y and x, per pixel; exact for the bilinear interpolation."""
        fraction = self._fraction.to(canvas_HW.device, canvas_HW.real.dtype)
        fy, fx = fraction[:, 0, None, None], fraction[:, 1, None, None]
        big = self._whole(canvas_HW)
        near, below, right, far = big[:, :-1, :-1], big[:, 1:, :-1], big[:, :-1, 1:], big[:, 1:, 1:]
        return mix(below - near, far - right, fx), mix(right - near, far - below, fy)

    def _whole(self, canvas_HW: Tensor) -> Tensor:
        """Pixels of the windows as they are, (B, n + 1, n + 1)."""
        side = self.n + 1
        if canvas_HW.device.type != "cpu":
            corner = self._corner.to(canvas_HW.device, torch.float64)
            return PatchGeometry.build(corner, side, self.canvas_px).gather(canvas_HW)
        width = self.canvas_px[1]
        strips = [canvas_HW.as_strided((side, side), (width, 1), start // 2) for start, _ in self._starts]
        return torch.stack(strips)

    @cached_property
    def _corner(self) -> Tensor:
        return torch.floor(self.positions_px).to(torch.int64)

    @cached_property
    def _fraction(self) -> Tensor:
        return self.positions_px - self._corner

    @cached_property
    def _starts(self) -> list[tuple[int, float]]:
        """Place of each window's first pixel among the canvas' real numbers, and the fraction along y."""
        starts = 2 * (self._corner[:, 0] * self.canvas_px[1] + self._corner[:, 1])
        return list(zip(starts.tolist(), self._fraction[:, 0].tolist(), strict=True))

    def _across(self, like: Tensor) -> Tensor:
        return self._fraction[:, 1, None, None].to(like.dtype)

    def _strip(self, canvas: Tensor, start: int) -> Tensor:
        """Rows of a window, one pixel wider than the patch, as real numbers."""
        return canvas.as_strided((self.n, 2 * self.n + 2), (canvas.shape[1], 1), start)

    def _geometry(self, like: Tensor) -> PatchGeometry:
        return PatchGeometry.build(self.positions_px.to(like.device), self.n, self.canvas_px)


def _as_real_rows(canvas_HW: Tensor) -> Tensor:
    return torch.view_as_real(canvas_HW).view(canvas_HW.shape[0], -1)
