"""Which finished jobs the results in an output folder are of, so that the same job is not done twice unasked.

``OUTPUT_DIR/.finished.json`` has for each command the settings of the last job, as long as its results are there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ptycho_dist.atomic import atomic_path
from ptycho_dist.earlier_results import MADE_BY, RESULTS, TRAINING, found_in

NAME = ".finished.json"


@dataclass(frozen=True, kw_only=True)
class FinishedJob:
    """A job whose results are there.

    Parameters
    ----------
    folder, command
        Where it ran, and what.
    ended
        When it ended (ISO 8601, UTC).
    results
        Names of its results in the folder.
    """

    folder: Path
    command: str
    ended: str
    results: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.folder} holds the results of this '{self.command}' already (finished {self.ended}): "
            f"{', '.join(self.results)}. Nothing was done. Give --overwrite (in Python overwrite=True) to run "
            "it anew in their place, --resume false (resume=False) to run it anew and keep them in a folder "
            "earlier-DATE, or another --output_dir."
        )


class FinishedAlready(Exception):  # noqa: N818  # no error: what was asked for is there
    """What is asked for was done before, and its results are there.

    Parameters
    ----------
    job
        The finished job.
    """

    def __init__(self, job: FinishedJob) -> None:
        super().__init__(str(job))
        self.job = job


def finished_job(folder: Path, command: str, asked: Mapping[str, Any]) -> FinishedJob | None:
    """Find the finished job of a command and settings whose results a folder holds; None where there is none.

    Parameters
    ----------
    folder
        Output folder.
    command
        Name of the command.
    asked
        All that is asked for, as nested plain values.
    """
    entry = _read(folder).get(command)
    if entry is None or entry.get("asked") != json.loads(json.dumps(asked)):
        return None
    results = tuple(entry["results"])
    if not set(results) <= found_in(folder).keys():
        return None
    return FinishedJob(folder=folder, command=command, ended=entry["ended"], results=results)


def note_finished(folder: Path, command: str, asked: Mapping[str, Any] | None) -> None:
    """Note that a job has ended well; jobs whose results it has replaced are no longer known.

    Parameters
    ----------
    folder, command
        As above.
    asked
        All that was asked for; None to forget earlier jobs only.
    """
    made = set(MADE_BY[command])
    known = {name: entry for name, entry in _read(folder).items() if made.isdisjoint(MADE_BY.get(name, ()))}
    if asked is not None:
        known[command] = {
            "asked": asked,
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "results": _results(folder, command),
        }
    if known:
        with atomic_path(folder / NAME) as temporary:
            temporary.write_text(json.dumps(known), encoding="utf-8")
    else:
        (folder / NAME).unlink(missing_ok=True)


def _results(folder: Path, command: str) -> list[str]:
    """Names of results of a command that are there, but for logs, checkpoints and the like."""
    own = {name for kind in MADE_BY[command] for name in (RESULTS[kind] if kind != TRAINING else ("bundle",))}
    return sorted(name for name in found_in(folder) if name in own and not name.startswith("logs/"))


def _read(folder: Path) -> dict[str, Any]:
    """Read the record; one that cannot be understood says nothing."""
    try:
        record = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
