"""What one pass over the patterns has found of everything but object and probe."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ptycho_dist.physics.windows import Windows
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.momentum import Push
from ptycho_dist.refine.reductions import Join
from ptycho_dist.types import IntArray


@dataclass(frozen=True)
class Totals:
    """Sums over all patterns of a pass.

    Parameters
    ----------
    count, squared, photons
        Patterns; their squared misfit; their counts. Float64, shape ().
    shift_px
        Of the shifts that were found, float64, shape (2,).
    flux
        Of the flux that was found, float64, shape ().
    background_NN
        Of the factors of the background; None where it is not fitted.
    """

    count: Tensor
    squared: Tensor
    photons: Tensor
    shift_px: Tensor
    flux: Tensor
    background_NN: Tensor | None = None

    LENGTH: ClassVar[int] = 6
    """Numbers of :meth:`flat`."""

    def flat(self) -> Tensor:
        """All but the background, float64, shape (6,)."""
        return torch.stack([self.count, self.squared, self.photons, *self.shift_px, self.flux])

    @classmethod
    def of(cls, flat: Tensor, background_NN: Tensor | None) -> Totals:
        """Read what :meth:`flat` gave."""
        count, squared, photons, *shift, flux = flat
        return cls(count, squared, photons, torch.stack(shift), flux, background_NN)

    @property
    def error(self) -> float:
        """Fourier error of the patterns as they were met; NaN of no photons."""
        squared, photons = float(self.squared), float(self.photons)
        return math.sqrt(squared / photons) if photons > 0 else math.nan


class Said:
    """What batches say of their patterns, on the device where they say it, so that no batch waits for the one before.

    It goes into one array as it comes: a small one for each batch would stay between the large ones of the next, and
    leave holes in memory in which these no longer fit.

    Parameters
    ----------
    count
        The most patterns there may be.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._numbers: list[IntArray] = []
        self._values: Tensor | None = None
        self._filled = 0

    def __len__(self) -> int:
        return self._filled

    def add(self, numbers: IntArray, values: Tensor) -> None:
        """Take in what is said (b, ...) of some patterns, each once in a pass."""
        if self._values is None:
            self._values = values.new_empty(self._count, *values.shape[1:])
        self._values[self._filled : self._filled + len(numbers)] = values
        self._filled += len(numbers)
        self._numbers.append(numbers)

    def put_into(self, target: Tensor) -> None:
        """Put what was said into an array of all patterns (B, ...), float64, on the CPU."""
        if self._values is not None:
            target[np.concatenate(self._numbers)] = self._values[: self._filled].double().cpu()


@dataclass
class Findings:
    """What one pass has found; each rank fills in its own patterns, the others' are zero."""

    squared_B: Tensor
    photons_B: Tensor
    shifts_px: Tensor
    flux_B: Tensor
    background_NN: Tensor | None
    met: Said
    shifted: Said
    dimmed: Said

    @classmethod
    def empty(cls, estimate: Estimate, *, fits_background: bool) -> Findings:
        """Prepare for a pass."""
        count, background = len(estimate.positions_px), estimate.background_NN if fits_background else None
        return cls(
            squared_B=torch.zeros(count, dtype=torch.float64),
            photons_B=torch.zeros(count, dtype=torch.float64),
            shifts_px=torch.zeros(count, 2, dtype=torch.float64),
            flux_B=torch.zeros(count, dtype=torch.float64),
            background_NN=None if background is None else torch.zeros_like(background),
            met=Said(count),
            shifted=Said(count),
            dimmed=Said(count),
        )

    def join(self, flux_B: Tensor, join: Join) -> None:
        """Add up over the ranks what was met at a flux (B,)."""
        self.met.put_into(self.squared_B)
        self.shifted.put_into(self.shifts_px)
        self.dimmed.put_into(self.flux_B)
        self.squared_B *= flux_B
        found = [self.squared_B, self.photons_B, self.shifts_px, self.flux_B]
        self.squared_B, self.photons_B, self.shifts_px, self.flux_B = join(found)
        if self.background_NN is not None:
            (self.background_NN,) = join([self.background_NN])

    def totals(self, flux_B: Tensor) -> Totals:
        """Sum what was joined, met at a flux (B,)."""
        return Totals(
            count=torch.tensor(float(len(self.squared_B)), dtype=torch.float64),
            squared=self.squared_B.sum(),
            photons=self.photons_B.sum(),
            shift_px=self.shifts_px.sum(dim=0),
            flux=(flux_B * self.flux_B).sum(),
            background_NN=self.background_NN,
        )


@dataclass(frozen=True)
class Pass:
    """A pass over all patterns.

    Parameters
    ----------
    iteration
        Its number, from 0.
    scale
        Factor on the step lengths.
    windows
        Where all patterns are on the object.
    found
        What the batches so far have found.
    push
        Momentum of the object.
    """

    iteration: int
    scale: float
    windows: Windows
    found: Findings
    push: Push
