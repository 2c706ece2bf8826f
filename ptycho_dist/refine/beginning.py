"""A start of a refinement on the canvas of a scan, or on a part of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptycho_dist.config.refine import RefineConfig
from ptycho_dist.config.schema import DataConfig
from ptycho_dist.data.formats.base import ComplexArray
from ptycho_dist.data.scan import Scan
from ptycho_dist.errors import RefinementError
from ptycho_dist.physics.optics import within_support
from ptycho_dist.physics.probe import intensity_scale, select_modes
from ptycho_dist.physics.start_modes import separable
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.initial import Start
from ptycho_dist.types import Canvas, IntArray

_MARGIN_PX, _ROOM_TO_MOVE_PX = 1, 24
_LEAST_BACKGROUND = 1e-3


def room_px(config: RefineConfig) -> int:
    """Pixels that are kept around the patterns, for them to move where positions are refined."""
    return _MARGIN_PX if config.position_start is None else _ROOM_TO_MOVE_PX


@dataclass(frozen=True)
class Beginning:
    """Gives what a refinement begins with, on any canvas.

    Parameters
    ----------
    start, scan
        What to start from, and the open scan.
    data, config
        Settings in force.
    like
        Real tensor of the type and device of the estimate.
    support_NN
        Where the probe may differ from zero, bool, shape (N, N); None where anywhere.
    """

    start: Start
    scan: Scan
    data: DataConfig
    config: RefineConfig
    like: Tensor
    support_NN: Tensor | None = None

    @cached_property
    def canvas(self) -> Canvas:
        """Holds all patches, with room to move where positions are refined."""
        grid, margin = self.start.origin_px % 1.0, room_px(self.config)
        return Canvas.around(self.start.positions_px, self.scan.header.N, grid_px=grid, margin=margin)

    def some(self, patterns: IntArray) -> Beginning:
        """Give that of some patterns, by ascending numbers."""
        return replace(self, start=self.start.some(patterns))

    def estimate(self, canvas: Canvas | None = None) -> Estimate:
        """Make the unknowns on a canvas that holds all patches; on the smallest such where None.

        Raises
        ------
        RefinementError
            If the start holds values that are not finite.
        """
        canvas, start = canvas or self.canvas, self.start
        flux = np.ones(len(start.positions_px)) if start.flux is None else np.array(start.flux, np.float64)
        probe_PNN, background_NN = self.optics()
        return Estimate(
            object_HW=torch.from_numpy(self.object_on(canvas)).to(self.like.device),
            probe_PNN=probe_PNN,
            positions_px=torch.from_numpy(start.positions_px - np.asarray(canvas.origin_px)),
            flux_B=torch.from_numpy(flux),
            background_NN=background_NN,
        )

    def object_on(self, canvas: Canvas) -> ComplexArray:
        """Give the object on a canvas (H, W): 1 where the start has none; only that part of the start is read.

        Raises
        ------
        RefinementError
            If it holds values that are not finite.
        """
        found = torch.ones(canvas.shape, dtype=self._complex_like.dtype).numpy()
        object_, origin = self.start.object_, self.start.origin_px
        if object_ is not None:
            _embed(found, object_, np.rint(origin - np.asarray(canvas.origin_px)).astype(int))
        self._require_finite(torch.from_numpy(found))
        return found

    def optics(self) -> tuple[Tensor, Tensor | None]:
        """Make the probe (P, N, N) and the background (N, N); None without one.

        Raises
        ------
        RefinementError
            If the probe holds values that are not finite.
        """
        probe = torch.from_numpy(self.start.probe.astype(np.complex128))
        probe = select_modes(probe, self.data.n_modes or len(probe))
        probe = separable(probe) if self.data.probe_trainable else probe
        probe = probe if self.support_NN is None else within_support(probe, self.support_NN.cpu())
        if self.start.object_ is None:
            probe = probe * intensity_scale(probe, self.scan.header.mean_counts)
        self._require_finite(probe)
        return probe.to(self._complex_like).contiguous(), self._background()

    @property
    def _complex_like(self) -> Tensor:
        return torch.complex(self.like, self.like)

    def _background(self) -> Tensor | None:
        header = self.scan.header
        if self.start.background is not None:
            return torch.from_numpy(np.asarray(self.start.background, np.float64)).to(self.like)
        if self.data.background == "none":
            return None
        least = max(_LEAST_BACKGROUND, _LEAST_BACKGROUND * header.mean_counts / header.N**2)
        return self.like.new_full((header.N, header.N), least)

    def _require_finite(self, values: Tensor) -> None:
        if not bool(torch.isfinite(torch.view_as_real(values)).all()):
            path = self.scan.header.path
            msg = f"the start of {path} holds NaN or infinite values; expected finite ones. Start from ones."
            raise RefinementError(msg)


def _embed(canvas: ComplexArray, object_: ComplexArray, corner: NDArray[np.int64]) -> None:
    """Copy the part of an object that lies on a canvas."""
    low = np.maximum(corner, 0)
    high = np.minimum(corner + object_.shape, canvas.shape)
    if (high > low).all():
        inner, outer = low - corner, high - corner
        canvas[low[0] : high[0], low[1] : high[1]] = object_[inner[0] : outer[0], inner[1] : outer[1]]
