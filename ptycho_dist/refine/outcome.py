"""What a refinement ends with, as its product takes it: in pieces, each from the rank that has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ptycho_dist.data.formats.base import ComplexArray
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.types import Canvas

Piece = tuple[tuple[int, int], ComplexArray]
"""First row and column on the canvas, and the object there (h, w)."""


@dataclass(frozen=True)
class Outcome:
    """The unknowns of a scan, at last; the same on every rank but for the pieces.

    Parameters
    ----------
    canvas
        Where the object lies.
    probe_PNN, positions_px, flux_B, background_NN
        As in :class:`~ptycho_dist.refine.estimate.Estimate`.
    pieces
        Gives this rank's parts of the object; those of all ranks cover the canvas, each pixel once, or with the same
        bits.
    """

    canvas: Canvas
    probe_PNN: Tensor
    positions_px: Tensor
    flux_B: Tensor
    background_NN: Tensor | None
    pieces: Callable[[], Iterator[Piece]]

    @classmethod
    def of(cls, estimate: Estimate, canvas: Canvas, rank: int) -> Outcome:
        """Take what every rank has whole; rank 0 gives the object."""

        def pieces() -> Iterator[Piece]:
            if rank == 0:
                yield (0, 0), estimate.object_HW.cpu().numpy().astype(np.complex64)

        parts = (estimate.probe_PNN, estimate.positions_px, estimate.flux_B, estimate.background_NN)
        return cls(canvas, *parts, pieces)
