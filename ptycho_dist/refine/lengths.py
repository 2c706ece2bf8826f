r"""How far several patterns together may take the object and the probe.

A step that is right for one pattern is too long where several ask for the same change, and their mean is too short
where they ask for different ones. Between the two lies the extrapolated step of parallel projections: the sum of the
steps :math:`d_j`, times :math:`\sum_j |d_j|^2 / |\sum_j d_j|^2` where that is less than 1 (Combettes, IEEE Trans.
Image Process. 6, 493 (1997), DOI 10.1109/83.563316).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ptycho_dist.refine.exit_wave import Batch

_TINY = 1e-30


@dataclass(frozen=True)
class Crowd:
    """Shortens the steps of patterns as far as the others of a batch ask the same of the same pixels.

    Parameters
    ----------
    object_HW
        Of the shape, type and device of the object.
    """

    object_HW: Tensor

    @cached_property
    def scratch_HW(self) -> Tensor:  # noqa: N802  # the letters of shapes
        """Zeros of the object's shape to work on, made when a batch is first crowded; zero again after each use."""
        return torch.zeros_like(self.object_HW)

    def lengthen(self, batch: Batch, steps_BNN: Tensor) -> Tensor:
        """Give the steps (B, N, N) of all patterns of a batch as they may be added up.

        Each is multiplied by its square over its product with the sum of all in its window, at least 1 over the
        number of patterns, at most 1.
        """
        if not batch.is_crowded:
            return steps_BNN
        batch.add_to(self.scratch_HW, steps_BNN, 1.0)
        own, along = self._agreement(batch, steps_BNN)
        batch.everyone.clear(self.scratch_HW)
        share = (own / torch.maximum(along, own).clamp_min(_TINY)).clamp_min(1 / len(batch.everyone))
        return steps_BNN * share[:, None, None]

    def _agreement(self, batch: Batch, steps_BNN: Tensor) -> tuple[Tensor, Tensor]:
        if batch.fused is not None:
            return batch.fused.agreement(self.scratch_HW, batch.everyone, steps_BNN)
        return inner(steps_BNN, steps_BNN), inner(steps_BNN, batch.everyone.gather(self.scratch_HW))


def joint_length(own: Tensor, change_PNN: Tensor, count: int) -> Tensor:
    """Factor on the mean of the steps of ``count`` patterns along one probe.

    The geometric mean of 1 and of what extrapolates their mean: the whole extrapolation would bring the noise of each
    pattern into the probe that all share.

    Parameters
    ----------
    own
        Sum of the squares of the steps, a number.
    change_PNN
        Sum of the steps, complex, shape (P, N, N).
    count
        Patterns in the batch.
    """
    flat = torch.view_as_real(change_PNN).reshape(-1)
    return (count * own / torch.dot(flat, flat).clamp_min(_TINY)).clamp(1.0, float(count)).sqrt()


def inner(one: Tensor, other: Tensor) -> Tensor:
    """Real part of the inner product (...) of complex frames (..., N, N), the first conjugated."""
    product: Tensor = torch.linalg.vecdot(*(torch.view_as_real(frames).flatten(-3) for frames in (one, other)))
    return product
