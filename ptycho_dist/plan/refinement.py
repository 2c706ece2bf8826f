"""The duration of a refinement on any number of ranks: pure arithmetic on what was measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ptycho_dist.plan.messages import Interconnect, halo_bytes

_COMPLEX_BYTES = 8
_JOINS = 4
"""Times that tiles are joined in an iteration."""
NEIGHBOURS = 8
"""Ranks whose parts of the object touch that of one."""


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """Size of a refinement.

    Parameters
    ----------
    iterations
        Passes over all patterns; 0 for none.
    tiles
        Parts that the scan is cut into; 1 for the whole at once.
    update
        Patterns that are updated together.
    N, n_modes
        Pixels along a pattern; probe modes.
    """

    iterations: int = 0
    tiles: int = 1
    update: int = 1
    N: int = 1
    n_modes: int = 1

    @property
    def probe_bytes(self) -> int:
        """Bytes of the probe."""
        return _COMPLEX_BYTES * self.n_modes * self.N**2

    def seconds(self, n_patterns: int, canvas_px: int, refine_s: float, net: Interconnect, ranks: int) -> float:
        """Duration of all iterations.

        Parameters
        ----------
        n_patterns, canvas_px
            Patterns of the scan; pixels of the object.
        refine_s
            Duration of a pattern in an iteration on one rank, in seconds.
        net
            Interconnect between the ranks.
        ranks
            Number of ranks; those beyond the tiles have nothing to do.
        """
        way = self._at_once_s if self.tiles == 1 else self._by_tiles_s
        return self.iterations * way(n_patterns, canvas_px, refine_s, net, ranks)

    def _at_once_s(self, n_patterns: int, _: int, refine_s: float, net: Interconnect, ranks: int) -> float:
        """Add up what a rank computes, and a message of all ranks for each update."""
        message = self.update * _COMPLEX_BYTES * self.N**2 + self.probe_bytes
        return -(-n_patterns // ranks) * refine_s + -(-n_patterns // self.update) * net.sum_s(message, ranks)

    def _by_tiles_s(self, n_patterns: int, canvas_px: int, refine_s: float, net: Interconnect, ranks: int) -> float:
        """Add up what the busiest rank computes, and four times halos and the probes of all tiles."""
        share = -(-self.tiles // ranks) / self.tiles
        halo = halo_bytes(math.sqrt(share * canvas_px), self.N)
        halo_s = net.halo_s(halo, min(NEIGHBOURS, ranks - 1)) if ranks > 1 else 0.0
        probes_s = net.gather_s(share * self.tiles * self.probe_bytes, ranks)
        return share * n_patterns * refine_s + _JOINS * (halo_s + probes_s)
