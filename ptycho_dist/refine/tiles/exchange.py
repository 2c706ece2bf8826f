"""What ranks that own tiles tell each other: what neighbours share, and what all tiles have alike."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ptycho_dist.distributed.collectives import all_gather, swap
from ptycho_dist.distributed.sharding import shards
from ptycho_dist.refine.reductions import as_real
from ptycho_dist.refine.tiles.cutting import Rectangle


@dataclass
class Account:
    """What messages have cost this rank.

    Parameters
    ----------
    sent_bytes
        Bytes of its own that it has sent to others, each counted once for every receiver.
    seconds
        Time in exchanges, waiting for others included.
    """

    sent_bytes: int = 0
    seconds: float = 0.0

    @contextmanager
    def exchange(self, sent_bytes: int) -> Iterator[None]:
        """Count an exchange, and take its time."""
        began = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - began
        self.sent_bytes += sent_bytes


Said = Mapping[int, tuple[Rectangle, Tensor]]
"""What other tiles say of a part of the object, by their numbers."""


@dataclass(frozen=True)
class Exchange:
    """Brings what tiles say to where it is needed.

    Parameters
    ----------
    rectangles
        Where all tiles are, in their order.
    rank, world
        Ranks own contiguous runs of tiles.
    account
        Counts what is sent.
    """

    rectangles: Sequence[Rectangle]
    rank: int
    world: int
    account: Account = field(default_factory=Account)

    @property
    def own(self) -> range:
        """Numbers of this rank's tiles."""
        return self._runs[self.rank]

    @property
    def halo_px(self) -> int:
        """Pixels that this rank sends to others when tiles are joined."""
        pairs = [pair for found in self._across.values() for pair in found]
        return sum(math.prod(self._common(*pair).shape) for pair in pairs)

    def with_neighbours(self, own: Mapping[int, Tensor]) -> dict[int, Said]:
        """Give each of this rank's tiles what the others say of its part of the object.

        Parameters
        ----------
        own
            What each of this rank's tiles says of its rectangle, by number.
        """
        outgoing, incoming = {}, {}
        for rank, pairs in self._across.items():
            parts = [self._cut(own[mine], mine, theirs) for mine, theirs in pairs]
            outgoing[rank] = torch.cat([part.reshape(-1) for part in parts])
            incoming[rank] = torch.empty_like(outgoing[rank])
        with self.account.exchange(sum(part.nbytes for part in outgoing.values())):
            swap(*({rank: as_real(part) for rank, part in parts.items()} for parts in (outgoing, incoming)))
        said: dict[int, dict[int, tuple[Rectangle, Tensor]]] = {number: {} for number in own}
        for rank, pairs in self._across.items():
            self._unpack(incoming[rank], sorted(pairs, key=lambda pair: pair[::-1]), said)
        for one, other in self._inside:
            part = self._common(one, other)
            said[one][other] = part, own[other][part.inside(self.rectangles[other])].clone()
        return {number: found for number, found in said.items()}

    def of_all(self, own: Sequence[Tensor], like: Tensor) -> list[Tensor]:
        """Give what each tile says, all of one shape, in the order of the tiles, on every rank."""
        longest = len(self._runs[0])
        block = as_real(like.new_zeros(longest, *like.shape))
        for place, one in enumerate(own):
            block[place] = as_real(one)
        with self.account.exchange(block.nbytes * (self.world - 1)):
            blocks = all_gather(block) if self.world > 1 else [block]
        found = [one for run, block in zip(self._runs, blocks, strict=True) for one in block[: len(run)]]
        return [torch.view_as_complex(one) for one in found] if like.is_complex() else found

    @cached_property
    def _runs(self) -> list[range]:
        return [range(one.start, one.stop) for one in shards(len(self.rectangles), self.world)]

    @cached_property
    def _inside(self) -> list[tuple[int, int]]:
        """Pairs of this rank's tiles that overlap."""
        return [(one, other) for one in self.own for other in self.own if one != other and self._overlap(one, other)]

    @cached_property
    def _across(self) -> dict[int, list[tuple[int, int]]]:
        """Pairs of a tile of this rank and one of another rank that overlap, by that rank; those with none left out."""
        found = {
            rank: [(mine, theirs) for mine in self.own for theirs in run if self._overlap(mine, theirs)]
            for rank, run in enumerate(self._runs)
            if rank != self.rank
        }
        return {rank: pairs for rank, pairs in found.items() if pairs}

    def _overlap(self, one: int, other: int) -> bool:
        return self.rectangles[one].common(self.rectangles[other]) is not None

    def _common(self, one: int, other: int) -> Rectangle:
        part = self.rectangles[one].common(self.rectangles[other])
        assert part is not None
        return part

    def _cut(self, values: Tensor, number: int, other: int) -> Tensor:
        return values[self._common(number, other).inside(self.rectangles[number])]

    def _unpack(
        self,
        flat: Tensor,
        pairs: Sequence[tuple[int, int]],
        into: Mapping[int, dict[int, tuple[Rectangle, Tensor]]],
    ) -> None:
        """Take apart what another rank has sent: in the order of its own tiles, then of ours."""
        place = 0
        for mine, theirs in pairs:
            part = self._common(mine, theirs)
            rows, columns = part.shape
            into[mine][theirs] = part, flat[place : place + rows * columns].view(rows, columns)
            place += rows * columns
