"""Ways to move patches between a canvas and a batch, which give the same up to rounding.

Rectangles of the canvas are moved one by one, by operations of torch or, several times faster, by compiled loops; one
indexed operation moves all patches, so that an accelerator is given the same few operations for any number of them; a
kernel of Triton does that in one launch, and in one order, where an indexed sum takes any.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from importlib.util import find_spec
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Some = NDArray[np.int64] | slice
"""Some patches, by number."""


class Body(Enum):
    """How patches are moved."""

    RECTANGLES = "rectangles"
    COMPILED = "compiled"
    INDEXED = "indexed"
    TRITON = "triton"

    @classmethod
    def suiting(cls, device: torch.device) -> Body:
        """Choose the one that is fast on a device."""
        if device.type == "cpu":
            return cls.COMPILED
        return cls.TRITON if device.type == "cuda" and has_triton() else cls.INDEXED

    @property
    def is_indexed(self) -> bool:
        """Whether all patches are moved at once, by places that the host does not read."""
        return self in (Body.INDEXED, Body.TRITON)


@lru_cache(maxsize=1)
def has_triton() -> bool:
    """Whether kernels of Triton can be compiled here."""
    return find_spec("triton") is not None


@runtime_checkable
class PatchMover(Protocol):
    """Moves B patches of side n at prepared places."""

    def gather(self, canvas_HW: Tensor) -> Tensor:
        """Interpolate patches (B, n, n) from a canvas (H, W)."""

    def scatter(self, patches_Bnn: Tensor) -> Tensor:
        """Sum patches (B, n, n) onto a new canvas (H, W): the adjoint of :meth:`gather`."""


@runtime_checkable
class WindowMover(Protocol):
    """Moves B patches of side n at prepared places of a (contiguous) canvas, which is much larger than they are."""

    def gather(self, canvas_HW: Tensor) -> Tensor:
        """Interpolate the patches (B, n, n) from a canvas."""

    def add_to(self, canvas_HW: Tensor, patches_Bnn: Tensor, factor: float) -> None:
        """Add ``factor`` times the adjoint of :meth:`gather` to a canvas, in place."""

    def clear(self, canvas_HW: Tensor) -> None:
        """Put zeros where :meth:`add_to` adds to."""

    def whole(self, canvas_HW: Tensor) -> Tensor:
        """Pixels of the windows as they are, (B, n + 1, n + 1)."""

    def take(self, numbers: Some) -> WindowMover:
        """Take some of the patches."""

    def fraction_like(self, values: Tensor) -> Tensor:
        """Sub-pixel parts of (y, x), shape (B, 2), real, on the device and in the precision of values."""
