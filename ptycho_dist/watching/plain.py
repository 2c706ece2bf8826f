"""A job as plain values for the page; words and numbers are ready to be shown."""

from __future__ import annotations

from typing import Any

from ptycho_dist.progress.snapshot import Snapshot
from ptycho_dist.progress.words import amount, details, duration, time_left
from ptycho_dist.watching.job import Job, RankState
from ptycho_dist.watching.messages import Message
from ptycho_dist.watching.ranks import chosen, summary

_GIB = 2**30


def plain(job: Job) -> dict[str, Any]:
    """Give everything that the page shows."""
    first = job.first
    return {
        "status": job.status,
        "verdict": job.verdict,
        "ended": job.has_ended,
        "title": "" if first is None else f"{first.place.command}, begun {first.started}",
        "stages": [] if first is None else _stages(first),
        "present": None if first is None else _present(first, has_ended=job.has_ended),
        "history": {} if first is None else {name: list(some) for name, some in first.history.items()},
        "ranks": [_rank(one) for one in chosen(job.ranks)],
        "summary": summary(job.ranks) if job.ranks else "",
        "messages": [_message(one) for one in job.messages],
        "pictures": [{"name": one.name, "version": str(one.changed_ns)} for one in job.pictures],
    }


def _stages(first: Snapshot) -> list[dict[str, Any]]:
    return [
        {
            "name": one.name,
            "took": "" if one.seconds is None else duration(one.seconds),
            "is_present": number == first.number and one.seconds is None,
        }
        for number, one in enumerate(first.stages, 1)
    ]


def _present(first: Snapshot, *, has_ended: bool) -> dict[str, Any]:
    if has_ended:
        return {"fraction": None, "amount": "", "words": f"{duration(first.job_s)} in all"}
    words = [*time_left(first), *details(first), f"{duration(first.job_s)} so far"]
    return {"fraction": first.fraction, "amount": amount(first), "words": ", ".join(words)}


def _rank(one: RankState) -> dict[str, Any]:
    last = one.last
    return {
        "rank": last.place.rank,
        "host": last.place.host,
        "stage": last.stage,
        "fraction": last.fraction,
        "amount": amount(last),
        "left": "" if last.stage_left_s is None else duration(last.stage_left_s),
        "speed": "" if last.patterns_per_s is None else f"{last.patterns_per_s:,.0f}",
        "memory": f"{last.private_bytes / _GIB:.1f}",
        "state": one.trouble or last.state,
        "is_in_trouble": bool(one.trouble),
    }


def _message(one: Message) -> dict[str, Any]:
    at = f"{one.at.astimezone():%Y-%m-%dT%H:%M:%S}"
    return {"at": at, "level": one.level, "rank": one.rank, "text": one.text}
