"""Patches that are moved all at once, by index: the body for accelerators.

The host reads none of the positions, and the operations are the same for any number of patches: those at whole
positions are interpolated like the others, with the share 0 of their neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from ptycho_dist.physics.bodies import Body, Some


@dataclass(frozen=True)
class Indexed:
    """Both a :class:`~ptycho_dist.physics.bodies.PatchMover` and a :class:`~ptycho_dist.physics.bodies.WindowMover`.

    Parameters
    ----------
    start
        int64, shape (B,), on the device of the canvases: place of each window's first pixel in the flat canvas.
    fraction
        Float, shape (B, 2), there too: sub-pixel parts of (y, x).
    inside
        int64, shape (n + 1, n + 1), there too: way from the first pixel to each pixel of a window in the flat canvas.
    canvas_px
        Canvas rows and columns (H, W).
    """

    start: Tensor
    fraction: Tensor
    inside: Tensor
    canvas_px: tuple[int, int]

    @classmethod
    def at(cls, corner: Tensor, fraction: Tensor, n: int, canvas_px: tuple[int, int]) -> Indexed:
        """Prepare from the corners' whole and sub-pixel parts (B, 2)."""
        offset = torch.arange(n + 1, device=corner.device)
        inside = (offset * canvas_px[1])[:, None] + offset
        return cls(corner[:, 0] * canvas_px[1] + corner[:, 1], fraction, inside, canvas_px)

    def to(self, device: torch.device) -> Indexed:
        """Bring it to the device of the canvases, without waiting."""
        start, fraction, inside = (
            one.to(device, non_blocking=True) for one in (self.start, self.fraction, self.inside)
        )
        return replace(self, start=start, fraction=fraction, inside=inside)

    def gather(self, canvas_HW: Tensor) -> Tensor:
        """Interpolate the patches (B, n, n) from a canvas."""
        fy, fx = self._shares(canvas_HW)
        big = _as_real(self.whole(canvas_HW))
        mixed = torch.lerp(big[:, :-1], big[:, 1:], fy)
        return _like(torch.lerp(mixed[:, :, :-1], mixed[:, :, 1:], fx), canvas_HW)

    def scatter(self, patches_Bnn: Tensor) -> Tensor:
        """Sum patches (B, n, n) onto a new canvas (H, W): the adjoint of :meth:`gather`."""
        canvas = patches_Bnn.new_zeros(self.canvas_px)
        self.add_to(canvas, patches_Bnn, 1.0)
        return canvas

    def add_to(self, canvas_HW: Tensor, patches_Bnn: Tensor, factor: float) -> None:
        """Add ``factor`` times the adjoint of :meth:`gather` to a canvas, in place."""
        fy, fx = self._shares(patches_Bnn)
        framed = functional.pad(_as_real(patches_Bnn), (0, 0, 1, 1, 1, 1))
        wide = torch.lerp(framed[:, :, 1:], framed[:, :, :-1], fx)
        high = torch.lerp(wide[:, 1:], wide[:, :-1], fy)
        spread = _like(high, patches_Bnn).reshape(-1)
        canvas_HW.view(-1).index_add_(0, self._index, spread, alpha=factor)

    def clear(self, canvas_HW: Tensor) -> None:
        """Put zeros where :meth:`add_to` adds to."""
        canvas_HW.view(-1).index_fill_(0, self._index, 0)

    def whole(self, canvas_HW: Tensor) -> Tensor:
        """Pixels of the windows as they are, (B, n + 1, n + 1)."""
        return canvas_HW.reshape(-1).index_select(0, self._index).view(len(self.start), *self.inside.shape)

    def take(self, numbers: Some) -> Indexed:
        """Take some of the patches."""
        if isinstance(numbers, slice):
            return replace(self, start=self.start[numbers], fraction=self.fraction[numbers])
        places = torch.from_numpy(numbers).to(self.start.device, non_blocking=True)
        start, fraction = (one.index_select(0, places) for one in (self.start, self.fraction))
        return replace(self, start=start, fraction=fraction)

    def fraction_like(self, values: Tensor) -> Tensor:
        """Sub-pixel parts of (y, x), shape (B, 2), in the precision of values: theirs, or single."""
        return self.fraction if values.real.dtype == self.fraction.dtype else self._single

    @cached_property
    def _single(self) -> Tensor:
        return self.fraction.float()

    @cached_property
    def _index(self) -> Tensor:
        """Flat canvas indices of all windows, int64, shape (B * (n + 1)^2).

        A window at whole numbers may reach one row or column beyond the canvas, with a share of 0; what lies beyond a
        row is the next one, and beyond the last the last pixel stands in.
        """
        rows, columns = self.canvas_px
        return (self.start[:, None, None] + self.inside).clamp_max_(rows * columns - 1).reshape(-1)

    def _shares(self, like: Tensor) -> tuple[Tensor, Tensor]:
        fraction = self.fraction_like(like)
        return fraction[:, 0, None, None, None], fraction[:, 1, None, None, None]


class TritonIndexed(Indexed):
    """Moves patches by kernels of Triton, one launch each; sums are taken in the order of the patches."""

    def gather(self, canvas_HW: Tensor) -> Tensor:
        """Interpolate the patches (B, n, n) from a canvas."""
        from ptycho_dist.kernels import triton_patches

        n = len(self.inside) - 1
        patches = canvas_HW.new_empty(len(self.start), n, n)
        triton_patches.gather(_plain(canvas_HW), self._corner, self.fraction, _step(canvas_HW), _plain(patches))
        return patches

    def add_to(self, canvas_HW: Tensor, patches_Bnn: Tensor, factor: float) -> None:
        """Add ``factor`` times the adjoint of :meth:`gather` to a (contiguous) canvas, in place."""
        from ptycho_dist.kernels import triton_patches

        canvas, patches = _plain(canvas_HW), _plain(patches_Bnn)
        triton_patches.add(canvas, self._corner, self.fraction, _step(canvas_HW), patches, factor)

    @cached_property
    def _corner(self) -> tuple[Tensor, Tensor]:
        """Whole parts of the corners, int64, shape (B,), of y and of x."""
        columns = self.canvas_px[1]
        return self.start // columns, self.start % columns


def indexed(body: Body) -> type[Indexed]:
    """Give the class that moves patches by index in one of these ways."""
    return TritonIndexed if body is Body.TRITON else Indexed


def _step(values: Tensor) -> int:
    """Give the number of real numbers in a pixel."""
    return 1 + values.is_complex()


def _plain(values: Tensor) -> Tensor:
    """Show a tensor as real numbers, real and imaginary parts beside each other; a contiguous one is not copied."""
    plain = values.detach().resolve_conj().contiguous()
    return torch.view_as_real(plain).flatten(-2) if values.is_complex() else plain


def _as_real(values: Tensor) -> Tensor:
    """Real numbers with a last axis of 2, or of 1 where they are no complex ones."""
    return torch.view_as_real(values.resolve_conj()) if values.is_complex() else values[..., None]


def _like(parts: Tensor, model: Tensor) -> Tensor:
    return torch.view_as_complex(parts) if model.is_complex() else parts[..., 0]
