"""Progress in words, for people and for grep."""

from __future__ import annotations

from collections.abc import Iterator

from ptycho_dist.progress.snapshot import Snapshot

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def duration(seconds: float) -> str:
    """Write a duration as ``0:42``, ``1:02:03`` or ``2 d 03:04:05``."""
    whole = max(0, round(seconds))
    minutes, hours, days = whole // _MINUTE % _MINUTE, whole % _DAY // _HOUR, whole // _DAY
    if days:
        return f"{days} d {hours:02d}:{minutes:02d}:{whole % _MINUTE:02d}"
    return f"{hours}:{minutes:02d}:{whole % _MINUTE:02d}" if hours else f"{minutes}:{whole % _MINUTE:02d}"


def count(number: float) -> str:
    """Write a number of things: ``2,310``; below ten also a digit after the point, where it is no whole number."""
    return f"{number:,.1f}" if number != int(number) and number < 10 else f"{number:,.0f}"


def amount(now: Snapshot) -> str:
    """Say how much of a stage is done: ``12 of 20 iterations``; empty where nothing is counted."""
    if not now.unit or (not now.done and now.total is None):
        return ""
    whole = "" if now.total is None else f" of {count(now.total)}"
    return f"{count(now.done)}{whole} {now.unit}"


def details(now: Snapshot) -> Iterator[str]:
    """Say what is known of a stage beside its amount and the time left."""
    if now.note:
        yield now.note
    for name, value in now.values.items():
        yield f"{name} {value:.4g}"
    if now.patterns_per_s is not None:
        each = "" if now.is_shared or now.place.world == 1 else f" on rank {now.place.rank}"
        yield f"{count(now.patterns_per_s)} patterns/s{each}"


def time_left(now: Snapshot) -> Iterator[str]:
    """Say how long stage and job still take, as far as that is known."""
    if now.stage_left_s is not None:
        yield f"about {duration(now.stage_left_s)} left"
    if now.job_left_s is not None and now.number < len(now.stages):
        yield f"whole job about {duration(now.job_left_s)}"


def line(now: Snapshot) -> str:
    """One line on a stage, such as ``refinement 12 of 20 iterations, Fourier error 0.1234, about 0:42 left``."""
    first = f"{now.stage} {amount(now)}".rstrip()
    times = (
        [f"in {duration(now.stage_s)}"] if now.ends_stage else list(time_left(now)) or [f"for {duration(now.stage_s)}"]
    )
    return ", ".join([first, *details(now), *times])
