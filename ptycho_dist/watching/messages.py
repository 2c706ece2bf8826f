"""The last warnings and errors of a job, from the logs of its ranks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

_MOST, _MOST_FILES = 6, 64
_TAIL_BYTES = 2**16
_LEVELS = ("WARNING", "ERROR", "CRITICAL")


@dataclass(frozen=True, order=True)
class Message:
    """A warning or an error.

    Parameters
    ----------
    at
        When it was logged.
    level
        WARNING, ERROR or CRITICAL.
    rank
        Which rank said it.
    text
        What it says.
    """

    at: datetime
    level: str
    rank: int
    text: str


def last_messages(output_dir: Path, since: datetime | None) -> list[Message]:
    """Read the last warnings and errors of all ranks since a job has begun, oldest first.

    Of many ranks those whose logs were changed last are read.
    """
    logs = sorted((output_dir / "logs").glob("rank-*.jsonl"), key=_changed, reverse=True)[:_MOST_FILES]
    found = sorted(one for path in logs for one in _messages(path) if since is None or one.at >= since)
    said: dict[str, Message] = {one.text: one for one in found}
    return sorted(said.values())[-_MOST:]


def _messages(path: Path) -> Iterator[Message]:
    """Yield warnings and errors at the end of a log; a line that is half written is left out."""
    for line in _tail(path).splitlines():
        try:
            facts: Any = json.loads(line)
            if facts["level"] in _LEVELS:
                at = datetime.fromisoformat(facts["time"])
                yield Message(at, facts["level"], int(facts["rank"]), str(facts["message"]))
        except (ValueError, KeyError, TypeError):
            continue


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
