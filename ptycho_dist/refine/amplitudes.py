"""Measured amplitudes of this rank's share of a scan: in memory where they fit, else read as they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.background import BackgroundCall
from ptycho_dist.distributed.collectives import on_all_ranks
from ptycho_dist.distributed.sharding import shard
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.physics.likelihood import modulus
from ptycho_dist.physics.propagators import Propagator
from ptycho_dist.physics.thinning import Half
from ptycho_dist.refine.batching import Drawn
from ptycho_dist.types import IntArray

_READ_AT_ONCE = 64


@dataclass(frozen=True)
class Share:
    """Amplitudes of some patterns, to be looked up by pattern number.

    Parameters
    ----------
    numbers
        int64, shape (n,), ascending.
    amplitude_nNN
        Float, shape (n, N, N), in detector order.
    photons_n
        Counts in each pattern, float64, shape (n,), on the CPU.
    """

    numbers: IntArray
    amplitude_nNN: Tensor
    photons_n: Tensor

    def of(self, numbers: IntArray) -> Tensor:
        """Amplitudes of some of the patterns (b, N, N)."""
        places = torch.from_numpy(np.searchsorted(self.numbers, numbers))
        return self.amplitude_nNN.index_select(0, places.to(self.amplitude_nNN.device, non_blocking=True))


@dataclass(frozen=True)
class AmplitudeReader:
    """Reads amplitudes, DC (or the beam) where the propagator has it.

    Parameters
    ----------
    scan
        The open scan.
    propagator
        Gives the detector order.
    like
        Tensor of the type and device that amplitudes get.
    context
        Place of this rank; one rank alone calls no collective, whether or not others are there.
    sample
        Pattern indices, int64, ascending: the only patterns there are, numbered from 0; all of the scan where None.
    half
        Which half of the photons is read; None for all.
    """

    scan: Scan
    propagator: Propagator
    like: Tensor
    context: RankContext
    sample: IntArray | None = None
    half: Half | None = None

    @property
    def n_patterns(self) -> int:
        """Patterns there are."""
        return self.scan.header.n_patterns if self.sample is None else len(self.sample)

    @property
    def is_alone(self) -> bool:
        """Whether no other rank takes part."""
        return self.context.world == 1

    def together(self, read: Callable[[], Share]) -> Share:
        """Read on every rank that takes part; if that fails on one, raise on all."""
        return read() if self.is_alone else on_all_ranks(read)

    def own(self, numbers: IntArray) -> slice:
        """Which of some ascending pattern numbers are this rank's."""
        if self.is_alone:
            return slice(0, len(numbers))
        mine = shard(self.n_patterns, self.context.rank, self.context.world)
        start, stop = np.searchsorted(numbers, (mine.start, mine.stop))
        return slice(int(start), int(stop))

    @property
    def bytes_of_share(self) -> int:
        """Memory that all amplitudes of the largest share take."""
        return shard(self.n_patterns, 0, self.context.world).__len__() * self._bytes_of_one

    @cached_property
    def whole(self) -> Share:
        """The whole share of this rank, read when it is first asked for and kept in memory."""
        mine = shard(self.n_patterns, self.context.rank, self.context.world)
        return self.together(partial(self.read, np.arange(mine.start, mine.stop)))

    def in_pieces(self, batches: Sequence[Drawn], limit_bytes: int) -> Iterator[tuple[Sequence[Drawn], Share]]:
        """Yield consecutive batches with the amplitudes of this rank's patterns in them.

        A piece takes at most ``limit_bytes`` (but holds at least one batch); the next one is read
        meanwhile. The pieces are the same on all ranks.
        """
        widest = max(len(one.numbers) for one in batches)
        at_once = max(1, int(limit_bytes / 2 / (self._bytes_of_one * -(-widest // self.context.world))))
        pieces = [batches[start : start + at_once] for start in range(0, len(batches), at_once)]
        upcoming = self._begin(pieces[0])
        for number, piece in enumerate(pieces):
            share = self.together(upcoming.wait_result)
            if number + 1 < len(pieces):
                upcoming = self._begin(pieces[number + 1])
            yield piece, share

    def _begin(self, piece: Sequence[Drawn]) -> BackgroundCall[Share]:
        numbers = np.sort(np.concatenate([one.numbers[self.own(one.numbers)] for one in piece]))
        return BackgroundCall(partial(self.read, numbers))

    @property
    def _bytes_of_one(self) -> int:
        return int(self.scan.header.N**2 * self.like.element_size())

    def read(self, numbers: IntArray) -> Share:
        """Read some patterns, by ascending numbers."""
        N = self.scan.header.N
        rows = numbers if self.sample is None else self.sample[numbers]
        amplitudes = self.like.new_empty(len(numbers), N, N)
        photons = torch.zeros(len(numbers), dtype=torch.float64)
        for start in range(0, len(numbers), _READ_AT_ONCE):
            part = rows[start : start + _READ_AT_ONCE]
            whole = self.scan.read_patterns(part)
            counts = torch.from_numpy(whole if self.half is None else self.half.of(whole, part))
            photons[start : start + _READ_AT_ONCE] = counts.sum(dim=(1, 2), dtype=torch.float64)
            amplitudes[start : start + _READ_AT_ONCE] = self.propagator.arrange(modulus(counts.to(self.like)))
        return Share(numbers, amplitudes, photons)
