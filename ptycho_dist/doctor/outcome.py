"""The outcome of a check, and what all checks use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ptycho_dist.doctor.facts import RankFacts

OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skip"


@dataclass(frozen=True)
class Result:
    """The outcome of a check.

    Parameters
    ----------
    name
        What was checked.
    status
        ok, warn (it will run, but badly), fail (it will not run, or not right), or skip (nothing to check).
    found
        What was found, with its numbers.
    fix
        What to do; empty where all is well.
    """

    name: str
    status: str
    found: str
    fix: str = ""


Facts = Sequence[RankFacts]


def by_host(ranks: Facts) -> Mapping[str, list[RankFacts]]:
    """Ranks of each host; nodes of one name (such as two SLURM daemons on one machine) are one host."""
    hosts: dict[str, list[RankFacts]] = {}
    for one in ranks:
        hosts.setdefault(one.host, []).append(one)
    return hosts


def listed(parts: Iterable[str], most: int = 8) -> str:
    """Join parts, with a number in place of those beyond ``most``."""
    all_parts = list(parts)
    more = f" and {len(all_parts) - most} more" if len(all_parts) > most else ""
    return ", ".join(all_parts[:most]) + more
