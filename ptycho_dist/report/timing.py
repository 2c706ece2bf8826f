"""Time and memory of the stages of a run, by rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ptycho_dist.report.source import Source
from ptycho_dist.run_record import TIMES

_MOST_RANKS = 12
_OF_METRICS = {
    "training_s": "training",
    "probe_search_s": "search for a probe",
    "prediction_s": "prediction",
    "stitching_s": "stitching",
    "refine_s": "refinement",
}
_BY_RANK = "Each rank by its own clock, waiting for the others included; memory is the largest that it has held."
_BY_RUN = "By the clock of rank 0."


@dataclass(frozen=True)
class Row:
    """A stage and its cells."""

    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Timing:
    """A table: names of its columns, rows, and what they mean."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    text: str


def timing_of(source: Source) -> Timing | None:
    """Tabulate the time of each stage and the memory of each rank; None where neither is known."""
    by_rank = source.record.get(TIMES, {})
    if by_rank.get("seconds"):
        return _of_ranks(by_rank["seconds"], by_rank.get("peak_memory_MiB", []))
    told = [(name, source.metrics.get(key)) for key, name in _OF_METRICS.items()]
    rows = [Row(name, (f"{seconds:.1f} s",)) for name, seconds in told if isinstance(seconds, int | float)]
    return Timing(("seconds",), tuple(rows), _BY_RUN) if rows else None


def _of_ranks(seconds: Mapping[str, list[float]], memory: list[float]) -> Timing:
    ranks = len(next(iter(seconds.values())))
    if ranks <= _MOST_RANKS:
        columns = tuple(f"rank {rank}" for rank in range(ranks))
    else:
        columns = ("shortest", "median", "longest")
    rows = [Row(stage, _cells(values, columns, "s")) for stage, values in seconds.items()]
    if memory:
        rows.append(Row("memory", _cells(memory, columns, "MiB")))
    return Timing(columns, tuple(rows), _BY_RANK)


def _cells(values: list[float], columns: tuple[str, ...], unit: str) -> tuple[str, ...]:
    ordered = sorted(values)
    shown: list[Any] = values if len(values) == len(columns) else [ordered[0], ordered[len(ordered) // 2], ordered[-1]]
    return tuple(f"{value:,.1f} {unit}" for value in shown)
