"""Loss terms of a step as CUDA graphs: the host starts one graph forward and one backward, not hundreds of kernels.

A graph has fixed shapes. Patterns of a step have few; its canvas is that of the largest so far with room to spare, and
where a step does not fit a larger one is captured. What lies beyond the patches changes no bit of the terms.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ptycho_dist.data.datamodule import ScanBatch
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.training.objective import Objective, Terms

_ROOM, _ROUND_PX = 1.15, 32
_MOST = 4
"""Kinds of steps that are captured: full ones, and the last of an epoch; others are done operation by operation."""
_logger = logging.getLogger(__name__)


class _Kind(NamedTuple):
    """What steps have in common that one graph serves."""

    patterns: int
    counts: torch.dtype
    has_labels: bool
    photons_per_count: float


@dataclass(frozen=True)
class _Captured:
    canvas_px: tuple[int, int]
    run: Callable[..., Any]

    def fits(self, canvas_px: Sequence[int]) -> bool:
        return all(need <= there for need, there in zip(canvas_px, self.canvas_px, strict=True))


class CapturedTerms:
    """Terms of the loss through CUDA graphs, forward and backward.

    Parameters
    ----------
    objective
        Gives the terms.
    model
        Whose parameters are trained; they are changed in place only.
    """

    def __init__(self, objective: Objective, model: PtychoModel) -> None:
        self._objective, self._model = objective, model
        self._captured: dict[_Kind, _Captured] = {}

    def terms(self, batch: ScanBatch) -> Terms:
        """Give the same as :meth:`~ptycho_dist.training.objective.Objective.terms` of the model."""
        kind = _Kind(len(batch.counts), batch.counts.dtype, batch.labels is not None, batch.photons_per_count)
        known = self._captured.get(kind)
        if known is None and len(self._captured) == _MOST:
            return self._objective.terms(self._model, batch)
        given = (batch.counts, batch.corners_px, batch.count_factor, *(() if batch.labels is None else (batch.labels,)))
        autocast, plain = _precision()
        with plain:
            if known is None or not known.fits(batch.canvas_px):
                known = self._captured[kind] = self._capture(batch, given, known, autocast)
            found: Tensor = known.run(*given)
        return dict(zip(self._objective.names, found.unbind(), strict=True))

    def _capture(
        self,
        batch: ScanBatch,
        given: tuple[Tensor, ...],
        before: _Captured | None,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> _Captured:
        least = before.canvas_px if before else (0, 0)
        rows, columns = (max(_with_room(need), there) for need, there in zip(batch.canvas_px, least, strict=True))
        work = _Work(self._objective, self._model, batch._replace(canvas_px=(rows, columns)), autocast)
        samples = tuple(one.clone() for one in given)
        run: Callable[..., Any] = torch.cuda.make_graphed_callables(work, samples, allow_unused_input=True)
        _logger.debug("captured a step of %d patterns on a canvas of %d x %d", len(batch.counts), rows, columns)
        return _Captured((rows, columns), run)


class _Work(nn.Module):
    """Terms (T,) from the tensors of a step; what is no tensor stays."""

    def __init__(
        self,
        objective: Objective,
        model: PtychoModel,
        like: ScanBatch,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        super().__init__()
        self.model, self._objective, self._like, self._autocast = model, objective, like, autocast
        self.train(model.training)

    def forward(self, counts: Tensor, corners_px: Tensor, count_factor: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compute the terms."""
        batch = self._like._replace(counts=counts, corners_px=corners_px, count_factor=count_factor, labels=labels)
        with self._autocast():
            return torch.stack([*self._objective.terms(self.model, batch).values()])


def _with_room(side_px: int) -> int:
    return math.ceil(side_px * _ROOM / _ROUND_PX) * _ROUND_PX


def _precision() -> tuple[Callable[[], AbstractContextManager[object]], AbstractContextManager[object]]:
    """Give what makes the mixed precision in force inside a graph, and what leaves it around the graph.

    The cache of converted weights must not outlive a capture.
    """
    if not torch.is_autocast_enabled("cuda"):
        return nullcontext, nullcontext()
    dtype = torch.get_autocast_dtype("cuda")
    return lambda: torch.autocast("cuda", dtype, cache_enabled=False), torch.autocast("cuda", enabled=False)
