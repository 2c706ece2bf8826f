"""A model, not a measurement: prediction and tiled refinement on up to thousands of ranks, from measured messages.

Run ``ptycho-dist plan SCAN --json > plan.json``, then ``python -m benchmarks.scale_model plan.json``. Latency,
bandwidth and the time to predict a pattern are those that the plan measured between two ranks; patterns that a rank
refines in a second are given (``python -m benchmarks.refinement`` measures them). Every rank owns one square tile. An
iteration of the refinement exchanges the halos of tiles with their eight neighbours, and sums the probe over all ranks,
four times; a prediction exchanges halos once for each stage. Weak scaling keeps the patterns of a rank; strong scaling
divides a scan of 16,632 patterns, as Wang et al. do (SC22), on networks and processors like those measured.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.common import write_results
from ptycho_dist.plan.messages import TREE, Interconnect, halo_bytes

SC22_PATTERNS = 16_632
_NEIGHBOURS, _EXCHANGES, _COMPLEX_BYTES = 8, 4, 8


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What a rank does, and what its scan is like.

    Parameters
    ----------
    net
        Messages between ranks.
    predict_s, refine_s
        Seconds that a pattern takes in a prediction, and in an iteration of the refinement.
    N, step_px, stages
        Pixels along a pattern; distance of neighbouring patterns; stages of the network.
    """

    net: Interconnect
    predict_s: float
    refine_s: float
    N: int
    step_px: float
    stages: int

    def prediction_s(self, patterns: float, ranks: int) -> float:
        """Duration of a prediction in which a rank has so many patterns."""
        return patterns * self.predict_s + self.stages * self._halo_s(patterns, ranks)

    def iteration_s(self, patterns: float, ranks: int) -> float:
        """Duration of an iteration of the refinement in which a rank has so many patterns."""
        probe_s = self.net.sum_s(_COMPLEX_BYTES * self.N**2, ranks)
        return patterns * self.refine_s + _EXCHANGES * (self._halo_s(patterns, ranks) + probe_s)

    def _halo_s(self, patterns: float, ranks: int) -> float:
        tile_px = math.sqrt(patterns) * self.step_px
        return 0.0 if ranks == 1 else self.net.halo_s(halo_bytes(tile_px, self.N), min(_NEIGHBOURS, ranks - 1))


def weak(rates: Rates, patterns: int, numbers: list[int]) -> list[dict[str, float]]:
    """Efficiency of so many ranks that have equally many patterns each, against one rank."""
    return [
        {
            "ranks": ranks,
            "prediction": rates.prediction_s(patterns, 1) / rates.prediction_s(patterns, ranks),
            "refinement": rates.iteration_s(patterns, 1) / rates.iteration_s(patterns, ranks),
        }
        for ranks in numbers
    ]


def strong(rates: Rates, patterns: int, numbers: list[int]) -> list[dict[str, float]]:
    """Seconds of so many ranks that divide a scan."""
    return [
        {
            "ranks": ranks,
            "prediction_s": rates.prediction_s(math.ceil(patterns / ranks), ranks),
            "iteration_s": rates.iteration_s(math.ceil(patterns / ranks), ranks),
        }
        for ranks in numbers
    ]


def rates_of(plan: dict[str, Any], arguments: argparse.Namespace) -> Rates:
    """Take the measured costs of a plan."""
    found = plan["measurements"][-1]
    net = Interconnect(
        latency_s=found["latency_s"],
        bytes_per_s=found["bytes_per_s"],
        reduction=TREE if arguments.tree else found["reduction"],
    )
    return Rates(
        net=net,
        predict_s=found["predict_s"],
        refine_s=1 / arguments.refined_per_s,
        N=arguments.side,
        step_px=arguments.step_px,
        stages=arguments.stages,
    )


def main() -> int:
    """Print the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("plan", type=Path, help="what ptycho-dist plan --json printed, on two ranks or more")
    parser.add_argument("--refined-per-s", type=float, default=1000.0, help="patterns a rank refines in a second")
    parser.add_argument("--patterns-per-rank", type=int, default=1024, help="patterns of a rank in weak scaling")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 4, 16, 64, 256, 1024, 4096])
    parser.add_argument("--side", type=int, default=64, help="pixels along a pattern")
    parser.add_argument("--step-px", type=float, default=4.5, help="distance of neighbouring patterns")
    parser.add_argument("--stages", type=int, default=3, help="stages of the network")
    parser.add_argument("--tree", action="store_true", help="sums by a tree, as NCCL and MPI have them, not by a ring")
    arguments = parser.parse_args()
    rates = rates_of(json.loads(arguments.plan.read_text(encoding="utf-8")), arguments)
    tables = {
        f"MODEL: efficiency, {arguments.patterns_per_rank} patterns a rank": weak(
            rates, arguments.patterns_per_rank, arguments.ranks
        ),
        f"MODEL: seconds, {SC22_PATTERNS} patterns": strong(rates, SC22_PATTERNS, arguments.ranks),
    }
    for title, rows in tables.items():
        table = Table(*rows[0], title=title)
        for row in rows:
            table.add_row(*(f"{value:.4g}" for value in row.values()))
        Console().print(table)
    net = rates.net
    facts = {"latency_s": net.latency_s, "bytes_per_s": net.bytes_per_s, "reduction": net.reduction}
    sys.stdout.write(f"written to {write_results('scale_model', {'is_a_model': True, **facts, **tables})}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
