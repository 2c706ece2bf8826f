"""Which patterns are updated together: as many as hardly overlap, a pure function of start, settings and iteration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from ptycho_dist.config.refine import RefineConfig
from ptycho_dist.distributed.sharding import shards
from ptycho_dist.physics.probe import probe_intensity
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.types import IntArray

LEAST_TOGETHER = 4
"""Patterns in a batch where all overlap, unless fewer are asked for: the best trade of steps and work at once."""
_STREAM, _SWEEPS = 0x5EF1, 2
_CROWDED, _APART = 0.25, 0.5
_NOWHERE = -1


@dataclass(frozen=True)
class Drawn:
    """Patterns that are updated together.

    Parameters
    ----------
    numbers
        Pattern numbers, int64, ascending.
    crowding
        Sum over pairs of their overlap, as :class:`Overlap` gives it.
    """

    numbers: IntArray
    crowding: float = 0.0

    @property
    def is_crowded(self) -> bool:
        """Whether what one pattern says of the object touches what another says."""
        return self.crowding > _APART


@dataclass(frozen=True)
class Overlap:
    """How strongly two patterns of one illumination overlap: by where its light is, not by their frames.

    Parameters
    ----------
    shared
        Sum of the product of the intensity with itself moved by (y, x), over the sum of its square; shape
        (2 N - 1, 2 N - 1), no move in the middle.
    """

    shared: NDArray[np.float64]

    @classmethod
    def of(cls, intensity_NN: Float[Tensor, "N N"]) -> Overlap:
        """Prepare for an illumination."""
        intensity = intensity_NN.double().cpu().numpy()
        side = 2 * len(intensity) - 1
        power = np.abs(np.fft.rfft2(intensity, s=(side, side))) ** 2
        shared = np.fft.fftshift(np.fft.irfft2(power, s=(side, side)))
        return cls(np.clip(np.round(shared / shared.max(), 6), 0.0, 1.0))

    @classmethod
    def nowhere(cls) -> Overlap:
        """Prepare for batches whose patterns may overlap as they will."""
        return cls(np.zeros((1, 1)))

    def between(self, one_px: NDArray[np.float64], other_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Overlap of patterns at corners (..., 2) and (..., 2): 1 at one place, 0 where no light is shared."""
        reach = len(self.shared) // 2
        place = np.rint(other_px - one_px).astype(np.int64) + reach
        is_near = np.all((place >= 0) & (place < len(self.shared)), axis=-1)
        y, x = np.moveaxis(np.where(np.expand_dims(is_near, -1), place, 0), -1, 0)
        found: NDArray[np.float64] = np.where(is_near, self.shared[y, x], 0.0)
        return found


@dataclass(frozen=True)
class Batching:
    """Cuts the patterns of an iteration into batches.

    Parameters
    ----------
    positions_px
        Corners of the patterns at the start, float64, shape (B, 2).
    overlap
        Of the illumination at the start, so that batches do not depend on what was refined since.
    size
        Patterns in a batch.
    seed
        What the random order depends on, with the iteration.
    """

    positions_px: NDArray[np.float64]
    overlap: Overlap
    size: int
    seed: int

    @classmethod
    def at_most(cls, most: int, seed: int, positions_px: NDArray[np.float64], overlap: Overlap) -> Batching:
        """Take the largest batches, up to ``most``, whose patterns hardly overlap; never fewer than 4 if allowed."""
        sizes = range(most, min(most, LEAST_TOGETHER), -1)
        tried = (cls(positions_px, overlap, size, seed) for size in sizes)
        found = next((one for one in tried if one.crowding <= _CROWDED), None)
        return found or cls(positions_px, overlap, min(most, LEAST_TOGETHER), seed)

    @property
    def crowding(self) -> float:
        """Overlap of a pattern with all others of its batch, mean over the first iteration."""
        return 2 * sum(one.crowding for one in self.of(0)) / len(self.positions_px)

    def of(self, iteration: int) -> list[Drawn]:
        """Draw the batches of an iteration.

        The scan is cut into as many contiguous parts as a batch has places, each part is put into random order, and a
        batch takes one pattern of each; so ranks that own contiguous shards have equal work. Then batches exchange
        patterns of one part in random pairs wherever that lessens the overlap in the two.

        Parameters
        ----------
        iteration
            Number of the pass, from 0.

        Returns
        -------
        list of Drawn
            Every pattern is in exactly one.
        """
        random = np.random.default_rng((_STREAM, self.seed, iteration))
        table = _random_table(len(self.positions_px), self.size, random)
        for part, (one, other) in self._pairs(table, random):
            self._exchange(table, part, one, other)
        crowding = self._crowding(table)
        return [Drawn(np.sort(row[row != _NOWHERE]), float(found)) for row, found in zip(table, crowding, strict=True)]

    def _pairs(self, table: IntArray, random: Generator) -> Iterator[tuple[int, tuple[IntArray, IntArray]]]:
        """Yield a part and disjoint pairs of batches that both have a pattern of it."""
        for _ in range(_SWEEPS):
            for part in range(table.shape[1] if table.shape[1] > 1 else 0):
                rows = random.permutation(int((table[:, part] != _NOWHERE).sum()))
                half = len(rows) // 2
                yield part, (rows[:half], rows[half : 2 * half])

    def _exchange(self, table: IntArray, part: int, one: IntArray, other: IntArray) -> None:
        """Exchange the patterns of a part between pairs of batches where that lessens their overlap."""
        of_one, of_other = table[one, part], table[other, part]
        stay = self._with_others(table, part, one, of_one) + self._with_others(table, part, other, of_other)
        change = self._with_others(table, part, one, of_other) + self._with_others(table, part, other, of_one)
        better = change < stay
        table[one[better], part], table[other[better], part] = of_other[better], of_one[better]

    def _with_others(self, table: IntArray, part: int, rows: IntArray, numbers: IntArray) -> NDArray[np.float64]:
        """Overlap of a pattern for each row with those that the row has of other parts."""
        others = np.delete(table[rows], part, axis=1)
        shared = self.overlap.between(self.positions_px[numbers][:, None], self.positions_px[others])
        found: NDArray[np.float64] = np.where(others == _NOWHERE, 0.0, shared).sum(axis=1)
        return found

    def _crowding(self, table: IntArray) -> NDArray[np.float64]:
        """Sum over pairs, for each row."""
        rows = np.arange(len(table))
        with_others = [
            np.where(table[:, part] == _NOWHERE, 0.0, self._with_others(table, part, rows, table[:, part]))
            for part in range(table.shape[1])
        ]
        found: NDArray[np.float64] = np.sum(with_others, axis=0) / 2
        return found


def _random_table(n_patterns: int, size: int, random: Generator) -> IntArray:
    """Put a random order of each part beside those of the others; -1 where a shorter part has no pattern left."""
    parts = [part for part in shards(n_patterns, size) if len(part)]
    table = np.full((len(parts[0]), len(parts)), _NOWHERE, np.int64)
    for column, part in enumerate(parts):
        table[: len(part), column] = part.start + random.permutation(len(part))
    return table


def make_batching(config: RefineConfig, estimate: Estimate) -> Batching:
    """Decide from the start how many patterns are updated together; Adam takes as many as are asked for."""
    positions, most = estimate.positions_px.numpy().copy(), int(config.batch_size or 1)
    overlap = Overlap.of(probe_intensity(estimate.probe_PNN))
    if config.method == "gradient":
        return Batching(positions, overlap, most, config.seed)
    return Batching.at_most(most, config.seed, positions, overlap)
