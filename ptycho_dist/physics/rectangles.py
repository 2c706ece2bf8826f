"""Patches that are moved rectangle by rectangle: the body for CPUs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

from ptycho_dist.physics.bodies import Some


@dataclass(frozen=True)
class RectanglePatches:
    """Adds up rectangles of a canvas, or to it; see :class:`~ptycho_dist.physics.bodies.PatchMover`.

    Parameters
    ----------
    corner
        int64, shape (B, 2): whole part of the corners (y, x).
    fraction
        float, shape (B, 2), sub-pixel parts of (y, x); None when all are whole.
    n
        Side of a patch.
    canvas_px
        Canvas rows and columns (H, W).
    """

    corner: Tensor
    fraction: Tensor | None
    n: int
    canvas_px: tuple[int, int]

    def gather(self, canvas_HW: Tensor) -> Tensor:
        """Interpolate patches (B, n, n) from a canvas (H, W)."""
        patches = canvas_HW.new_zeros(len(self.corner), self.n, self.n)
        for patch, rows, columns, share in self._rectangles:
            patches[patch].add_(canvas_HW[rows, columns], alpha=share)
        return patches

    def scatter(self, patches_Bnn: Tensor) -> Tensor:
        """Sum patches (B, n, n) onto a new canvas (H, W): the adjoint of :meth:`gather`."""
        canvas = patches_Bnn.new_zeros(self.canvas_px)
        for patch, rows, columns, share in self._rectangles:
            canvas[rows, columns].add_(patches_Bnn[patch], alpha=share)
        return canvas

    @cached_property
    def _rectangles(self) -> list[tuple[int, slice, slice, float]]:
        """Which rectangles of the canvas make up each patch, and with what share: one, or up to four."""
        shares = torch.zeros(self.corner.shape, dtype=torch.float64) if self.fraction is None else self.fraction
        return [
            (patch, slice(y + dy, y + dy + self.n), slice(x + dx, x + dx + self.n), share)
            for patch, ((y, x), (fy, fx)) in enumerate(zip(self.corner.tolist(), shares.tolist(), strict=True))
            for dy, dx, share in _bilinear(fy, fx)
        ]


@dataclass(frozen=True)
class RectangleWindows:
    """Moves patches as strided views of a canvas; see :class:`~ptycho_dist.physics.bodies.WindowMover`.

    Parameters
    ----------
    corner
        int64, shape (B, 2), on the CPU: whole part of the corners (y, x).
    fraction
        float64, shape (B, 2), on the CPU: sub-pixel parts of (y, x).
    starts
        Place of each window's first pixel among the canvas' real numbers, and the fraction along y.
    n
        Side of a patch.
    """

    corner: Tensor
    fraction: Tensor
    starts: list[tuple[int, float]]
    n: int

    @classmethod
    def at(cls, corner: Tensor, fraction: Tensor, n: int, width_px: int) -> RectangleWindows:
        """Prepare for a canvas with so many columns."""
        starts = 2 * (corner[:, 0] * width_px + corner[:, 1])
        return cls(corner, fraction, list(zip(starts.tolist(), fraction[:, 0].tolist(), strict=True)), n)

    def gather(self, canvas_HW: Tensor) -> Tensor:
        """Interpolate the patches (B, n, n) from a canvas."""
        n, count, canvas = self.n, len(self.starts), _as_real_rows(canvas_HW)
        rows = canvas.new_empty(count, n, 2 * n + 2)
        for row, (start, fy) in zip(rows.unbind(), self.starts, strict=True):
            torch.lerp(self._strip(canvas, start), self._strip(canvas, start + canvas.shape[1]), fy, out=row)
        patches = torch.lerp(rows[:, :, :-2], rows[:, :, 2:], self._across(canvas))
        return torch.view_as_complex(patches.view(count, n, n, 2))

    def add_to(self, canvas_HW: Tensor, patches_Bnn: Tensor, factor: float) -> None:
        """Add ``factor`` times the adjoint of :meth:`gather` to a canvas, in place."""
        n, count, canvas = self.n, len(self.starts), _as_real_rows(canvas_HW)
        right = torch.view_as_real(patches_Bnn).reshape(count, n, 2 * n)
        across = self._across(canvas)
        rows = right.new_empty(count, n, 2 * n + 2)
        torch.mul(right, 1 - across, out=rows[:, :, :-2])
        rows[:, :, -2:] = 0
        rows[:, :, 2:].addcmul_(right, across)
        for row, (start, fy) in zip(rows.unbind(), self.starts, strict=True):
            self._strip(canvas, start).add_(row, alpha=factor * (1 - fy))
            if fy:
                self._strip(canvas, start + canvas.shape[1]).add_(row, alpha=factor * fy)

    def clear(self, canvas_HW: Tensor) -> None:
        """Put zeros where :meth:`add_to` adds to."""
        canvas, side = _as_real_rows(canvas_HW), self.n + 1
        for start, _ in self.starts:
            canvas.as_strided((side, 2 * side), (canvas.shape[1], 1), start).zero_()

    def whole(self, canvas_HW: Tensor) -> Tensor:
        """Pixels of the windows as they are, (B, n + 1, n + 1)."""
        side, width = self.n + 1, canvas_HW.shape[1]
        strips = [canvas_HW.as_strided((side, side), (width, 1), start // 2) for start, _ in self.starts]
        return torch.stack(strips)

    def take(self, numbers: Some) -> RectangleWindows:
        """Take some of the patches."""
        places = range(len(self.starts))[numbers] if isinstance(numbers, slice) else numbers.tolist()
        part = numbers if isinstance(numbers, slice) else torch.from_numpy(numbers)
        starts = [self.starts[place] for place in places]
        return RectangleWindows(self.corner[part], self.fraction[part], starts, self.n)

    def fraction_like(self, values: Tensor) -> Tensor:
        """Sub-pixel parts of (y, x), shape (B, 2), in the precision of values."""
        return self.fraction.to(values.real.dtype)

    def _across(self, like: Tensor) -> Tensor:
        return self.fraction[:, 1, None, None].to(like.dtype)

    def _strip(self, canvas: Tensor, start: int) -> Tensor:
        """Rows of a window, one pixel wider than the patch, as real numbers."""
        return canvas.as_strided((self.n, 2 * self.n + 2), (canvas.shape[1], 1), start)


def _as_real_rows(canvas_HW: Tensor) -> Tensor:
    return torch.view_as_real(canvas_HW).view(canvas_HW.shape[0], -1)


def _bilinear(fy: float, fx: float) -> Iterator[tuple[int, int, float]]:
    """Yield the steps (y, x) to the pixels that a point between them is made of, and their shares, zeros left out."""
    for (dy, wy), (dx, wx) in product(enumerate((1 - fy, fy)), enumerate((1 - fx, fx))):
        if wy * wx:
            yield dy, dx, wy * wx
