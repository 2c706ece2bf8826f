"""Which of many ranks are worth a line, and what all of them together do."""

from __future__ import annotations

from collections.abc import Sequence

from ptycho_dist.progress.snapshot import RUNNING
from ptycho_dist.progress.words import count
from ptycho_dist.watching.job import RankState

MOST_ROWS = 10
_GIB = 2**30


def chosen(ranks: Sequence[RankState], most: int = MOST_ROWS) -> list[RankState]:
    """Choose at most so many ranks, in their order: those in trouble first, then the slowest and the fastest."""
    if len(ranks) <= most:
        return list(ranks)
    by_speed = sorted(ranks, key=_how_far)
    ends = [one for pair in zip(by_speed, reversed(by_speed), strict=True) for one in pair]
    in_trouble = [one for one in ranks if one.trouble]
    found: dict[int, RankState] = {}
    for one in (*in_trouble, *ends):
        if len(found) < most:
            found.setdefault(one.last.place.rank, one)
    return [found[rank] for rank in sorted(found)]


def _how_far(one: RankState) -> tuple[int, float, float]:
    return one.last.number, one.last.fraction or 0.0, one.last.patterns_per_s or 0.0


def summary(ranks: Sequence[RankState]) -> str:
    """Say what all ranks together do and hold."""
    states = [one.last for one in ranks]
    silent = sum(one.is_silent for one in ranks)
    running = sum(one.state == RUNNING for one in states) - silent
    parts = [f"{len(ranks)} of {states[0].place.world} rank{'s' if states[0].place.world > 1 else ''} seen"]
    parts += [f"{number} {word}" for number, word in ((running, "running"), (silent, "silent")) if number]
    speed = patterns_per_s(ranks)
    if speed is not None:
        parts.append(f"{count(speed)} patterns/s together")
    memory = [one.private_bytes / _GIB for one in states]
    parts.append(f"private memory {min(memory):.1f} to {max(memory):.1f} GiB, {sum(memory):.1f} in all")
    return ", ".join(parts)


def patterns_per_s(ranks: Sequence[RankState]) -> float | None:
    """Patterns that all ranks work on in a second; None where nothing is known."""
    running = [one.last for one in ranks if one.last.state == RUNNING and not one.is_silent]
    own = [one.patterns_per_s for one in running if not one.is_shared and one.patterns_per_s is not None]
    shared = [one.patterns_per_s for one in running if one.is_shared and one.patterns_per_s is not None]
    return sum(own) if own else max(shared, default=None)
