"""Windows of a large canvas on which many patches lie."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Complex
from torch import Tensor

from ptycho_dist.physics.bodies import Body, Some, WindowMover
from ptycho_dist.physics.indexed import indexed
from ptycho_dist.physics.patches import mix, require_inside
from ptycho_dist.physics.rectangles import RectangleWindows


@dataclass(frozen=True)
class Windows:
    """Where B patches of side ``n`` lie on a large canvas: the work grows with the patches, not with the canvas.

    Parameters
    ----------
    positions_px
        float64, shape (B, 2), on the CPU: patch corners (y, x) in canvas pixels.
    n
        Side of a patch.
    canvas_px
        Canvas rows and columns (H, W); a pixel beyond the patches is needed, as for fractional positions.
    device
        Of the canvases; None for the CPU.
    body
        How patches are moved; None for what suits the device.
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
    device: torch.device | None = None
    body: Body | None = None
    is_inside: bool = False

    def __post_init__(self) -> None:
        if not self.is_inside:
            require_inside(torch.floor(self.positions_px).to(torch.int64), self.n + 1, self.canvas_px)

    def __len__(self) -> int:
        return len(self.positions_px)

    def gather(self, canvas_HW: Complex[Tensor, "H W"]) -> Complex[Tensor, "B n n"]:
        """Interpolate the patches from a (contiguous) canvas."""
        return self._mover.gather(canvas_HW)

    def add_to(self, canvas_HW: Complex[Tensor, "H W"], patches_Bnn: Complex[Tensor, "B n n"], factor: float) -> None:
        """Add ``factor`` times the adjoint of :meth:`gather` to a (contiguous) canvas, in place."""
        self._mover.add_to(canvas_HW, patches_Bnn, factor)

    def take(self, numbers: Some) -> Windows:
        """Take some of the windows, which need not be checked again."""
        part = numbers if isinstance(numbers, slice) else torch.from_numpy(numbers)
        taken = replace(self, positions_px=self.positions_px[part], is_inside=True)
        vars(taken).update(_mover=self._mover.take(numbers))
        return taken

    def clear(self, canvas_HW: Complex[Tensor, "H W"]) -> None:
        """Put zeros where :meth:`add_to` adds to."""
        self._mover.clear(canvas_HW)

    def slopes(self, canvas_HW: Complex[Tensor, "H W"]) -> tuple[Complex[Tensor, "B n n"], Complex[Tensor, "B n n"]]:
        """Give the derivatives of the patches along y and x, per pixel; exact for the bilinear interpolation."""
        fraction = self._mover.fraction_like(canvas_HW)
        fy, fx = fraction[:, 0, None, None], fraction[:, 1, None, None]
        big = self._mover.whole(canvas_HW)
        near, below, right, far = big[:, :-1, :-1], big[:, 1:, :-1], big[:, :-1, 1:], big[:, 1:, 1:]
        return mix(below - near, far - right, fx), mix(right - near, far - below, fy)

    @cached_property
    def _mover(self) -> WindowMover:
        corner = torch.floor(self.positions_px).to(torch.int64)
        fraction = self.positions_px - corner
        device = self.device or self.positions_px.device
        body = self.body or Body.suiting(device)
        if body.is_indexed:
            return indexed(body).at(corner, fraction, self.n, self.canvas_px).to(device)
        return RectangleWindows.at(corner, fraction, self.n, self.canvas_px[1])
