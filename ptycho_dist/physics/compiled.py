"""Patches that are moved by compiled loops: the body for floating-point canvases on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ptycho_dist.kernels import patches
from ptycho_dist.physics.rectangles import RectanglePatches


class CompiledPatches(RectanglePatches):
    """Moves the same rectangles by loops, on the CPU; see :class:`~ptycho_dist.physics.bodies.PatchMover`."""

    def gather(self, canvas_HW: Tensor) -> Tensor:
        """Interpolate patches (B, n, n) from a canvas (H, W)."""
        found = canvas_HW.new_empty(len(self.corner), self.n, self.n)
        patches.gather(_numbers(canvas_HW), *self._places, _step(canvas_HW), _numbers(found))
        return found

    def scatter(self, patches_Bnn: Tensor) -> Tensor:
        """Sum patches (B, n, n) onto a new canvas (H, W): the adjoint of :meth:`gather`."""
        canvas = patches_Bnn.new_zeros(self.canvas_px)
        patches.scatter(_numbers(canvas), *self._places, _step(canvas), _numbers(patches_Bnn))
        return canvas

    @property
    def _places(self) -> tuple[Any, Any]:
        fraction = torch.zeros(self.corner.shape) if self.fraction is None else self.fraction
        return self.corner.contiguous().numpy(), fraction.double().contiguous().numpy()


def _step(values: Tensor) -> int:
    """Give the number of real numbers in a pixel."""
    return 1 + values.is_complex()


def _numbers(values: Tensor) -> Any:
    """Show a tensor as an array of real numbers; a contiguous one is not copied."""
    plain = values.detach().resolve_conj().contiguous()
    return (torch.view_as_real(plain).flatten(-2) if values.is_complex() else plain).numpy()
