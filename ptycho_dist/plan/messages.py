"""What messages between ranks cost: pure arithmetic on a latency and a bandwidth."""

from __future__ import annotations

import math
from dataclasses import dataclass

RING, TREE = "ring", "tree"
"""How an all-reduce goes round: gloo passes a ring of all ranks, NCCL a tree where messages are short."""


@dataclass(frozen=True, kw_only=True)
class Interconnect:
    """A network as its messages see it.

    Parameters
    ----------
    latency_s
        Duration of an empty message, in seconds.
    bytes_per_s
        Bandwidth of a rank.
    reduction
        How sums go round: ``ring`` or ``tree``.
    """

    latency_s: float = 0.0
    bytes_per_s: float = math.inf
    reduction: str = RING

    def rounds(self, ranks: int) -> int:
        """Messages that an all-reduce waits for, one after the other."""
        if ranks == 1:
            return 0
        return 2 * (ranks - 1) if self.reduction == RING else 2 * math.ceil(math.log2(ranks))

    def sum_s(self, n_bytes: float, ranks: int) -> float:
        """Duration of adding tensors of so many bytes up over all ranks.

        References
        ----------
        .. [1] Thakur, Rabenseifner, Gropp, Optimization of collective communication operations in MPICH (2005),
           sections 4.4 and 4.5 (ring; Rabenseifner's algorithm), DOI 10.1177/1094342005051521.
        """
        return self.rounds(ranks) * self.latency_s + sent_bytes(n_bytes, ranks) / self.bytes_per_s

    def gather_s(self, n_bytes: float, ranks: int) -> float:
        """Duration of giving every rank a tensor of so many bytes of every rank: half of the rounds of a sum."""
        return self.rounds(ranks) / 2 * self.latency_s + (ranks - 1) * n_bytes / self.bytes_per_s

    def halo_s(self, n_bytes: float, neighbours: int) -> float:
        """Duration of an exchange of so many bytes with so many neighbours, whatever the number of ranks."""
        return neighbours * self.latency_s + n_bytes / self.bytes_per_s


def sent_bytes(n_bytes: float, ranks: int) -> float:
    """Bytes that each rank sends to add tensors of so many bytes up over all ranks."""
    return 2 * (ranks - 1) / ranks * n_bytes


def halo_bytes(tile_px: float, halo_px: float, bytes_a_pixel: int = 8) -> float:
    """Bytes that a square tile sends in an exchange: a frame of its halo's width on its four sides and corners."""
    return 4 * halo_px * (tile_px + halo_px) * bytes_a_pixel
