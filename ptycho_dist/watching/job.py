"""What the files in a job's folder say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ptycho_dist import job_marker
from ptycho_dist.errors import ConfigError
from ptycho_dist.progress.snapshot import FAILED, FINISHED, RUNNING, STOPPED, Snapshot
from ptycho_dist.progress.state_file import interval_s, read_states
from ptycho_dist.progress.words import duration
from ptycho_dist.watching.messages import Message, last_messages
from ptycho_dist.watching.pictures import Picture, pictures_of

WAITING, SILENT = "waiting", "silent"
_SILENT_S, _INTERVALS = 15.0, 5
"""A rank is silent after so many seconds, or intervals of its writing where these are longer."""
_IDLE_S = 60.0
_RESUME = "the same command resumes it"


@dataclass(frozen=True)
class RankState:
    """A rank, and how long ago it wrote.

    Parameters
    ----------
    last
        What it wrote.
    silent_s, idle_s
        Seconds since it wrote, and between its last report of work and that.
    """

    last: Snapshot
    silent_s: float
    idle_s: float

    @property
    def is_silent(self) -> bool:
        """Whether it has not written for long, and has not ended."""
        limit_s = max(_SILENT_S, _INTERVALS * interval_s(self.last.place.world))
        return self.last.state == RUNNING and self.silent_s > limit_s

    @property
    def is_idle(self) -> bool:
        """Whether it lives, but has not reported any work for long."""
        return self.last.state == RUNNING and not self.is_silent and self.idle_s > _IDLE_S

    @property
    def trouble(self) -> str:
        """What is wrong with it; empty where nothing is."""
        if self.is_silent:
            return f"no sign of life for {duration(self.silent_s)}"
        if self.is_idle:
            return f"no progress for {duration(self.idle_s)}"
        return self.last.reason if self.last.state == FAILED else ""


@dataclass(frozen=True)
class Job:
    """A job as its files show it.

    Parameters
    ----------
    folder
        Of its results.
    status
        waiting (nothing written yet), running, silent (not ended, but no rank writes), finished, stopped or failed.
    verdict
        The same in words.
    ranks
        All that have written, in their order.
    messages
        The last warnings and errors.
    pictures
        The newest first.
    """

    folder: Path
    status: str
    verdict: str
    ranks: tuple[RankState, ...] = ()
    messages: tuple[Message, ...] = ()
    pictures: tuple[Picture, ...] = ()

    @property
    def first(self) -> Snapshot | None:
        """What the first rank wrote; None where none has."""
        return self.ranks[0].last if self.ranks else None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self.status in (FINISHED, STOPPED, FAILED)


def look(folder: Path, now: datetime) -> Job:
    """Read what there is of a job.

    Parameters
    ----------
    folder
        Of its results; need not be there yet.
    now
        Aware date and time.
    """
    ranks = tuple(_rank_state(one, now) for one in read_states(folder))
    status, verdict = _status(folder, ranks)
    since = datetime.fromisoformat(ranks[0].last.started) if ranks else None
    messages = tuple(last_messages(folder, since)) if ranks else ()
    return Job(folder, status, verdict, ranks, messages, tuple(pictures_of(folder)))


def _rank_state(last: Snapshot, now: datetime) -> RankState:
    updated, reported = datetime.fromisoformat(last.updated), datetime.fromisoformat(last.reported)
    return RankState(last, (now - updated).total_seconds(), (updated - reported).total_seconds())


def _status(folder: Path, ranks: Sequence[RankState]) -> tuple[str, str]:
    if not ranks:
        return WAITING, _waiting(folder)
    failed = [one.last for one in ranks if one.last.state == FAILED]
    stopped = [one.last for one in ranks if one.last.state == STOPPED]
    silent = [one for one in ranks if one.is_silent]
    resumes = f"; {_RESUME}" if (folder / job_marker.NAME).is_file() else ""
    if failed:
        causes = [one for one in failed if not one.reason.startswith("OtherRankError")] or failed
        return FAILED, f"failed on rank {causes[0].place.rank}: {causes[0].reason}{resumes}"
    if stopped:
        return STOPPED, f"stopped ({stopped[0].reason}){resumes}"
    if len(silent) == len(ranks):
        quiet_s = min(one.silent_s for one in silent)
        return SILENT, f"not finished, and no rank has written for {duration(quiet_s)}; was it killed?{resumes}"
    if all(one.last.state == FINISHED for one in ranks):
        return FINISHED, f"finished, in {duration(ranks[0].last.job_s)}"
    return RUNNING, "running" if not silent else f"running, but {len(silent)} of {len(ranks)} ranks are silent"


def _waiting(folder: Path) -> str:
    try:
        marker = job_marker.read_marker(folder)
    except ConfigError:
        marker = None
    if marker is not None:
        return f"a '{marker['command']}' is unfinished here, and no rank has said yet how far it is"
    return "the job has not written anything yet" if folder.is_dir() else "the folder is not there yet"
