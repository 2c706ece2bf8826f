"""Logging of ranks: rank 0 speaks to a person, the others only warn; each writes all to a file of its own."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler

from ptycho_dist.launching.environment import RankContext
from ptycho_dist.progress.lines import is_worth_a_terminal

FOLDER = "logs"
_PACKAGE = "ptycho_dist"
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"


class RankFilter(logging.Filter):
    """Give each record the prefix ``[rank r]`` when there is more than one rank."""

    def __init__(self, context: RankContext) -> None:
        super().__init__()
        self._prefix = f"[rank {context.rank}] " if context.world > 1 else ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Set ``rank_prefix``; every record passes."""
        record.rank_prefix = self._prefix
        return True


class JsonLines(logging.Handler):
    """One JSON object for each record, appended to a file that the first record makes.

    Keys: time (ISO 8601, UTC), level, logger, rank, host, pid, message, and traceback where there is one.
    If the file cannot be written, that is said once and the run continues without it.

    Parameters
    ----------
    path
        The file; its folder is made if needed.
    rank
        Number of this rank.
    """

    def __init__(self, path: Path, rank: int) -> None:
        super().__init__(logging.INFO)
        self.path = path
        self._rank = rank
        self._is_broken = False

    def emit(self, record: logging.LogRecord) -> None:
        """Append a record."""
        if self._is_broken:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(f"{json.dumps(self._facts(record))}\n")
        except OSError as error:
            self._is_broken = True
            sys.stderr.write(
                f"ptycho-dist: the log {self.path} cannot be written ({error.strerror}); continuing without.\n"
            )

    def _facts(self, record: logging.LogRecord) -> dict[str, str | int]:
        facts: dict[str, str | int] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "rank": self._rank,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            facts["traceback"] = logging.Formatter().formatException(record.exc_info)
        return facts


def configure_logging(context: RankContext, *, debug: bool = False, quiet: bool = False, bar: bool = False) -> Console:
    """Send this package's log to standard error: INFO on rank 0, WARNING on the others.

    On a terminal messages are coloured and folded to its width; elsewhere each is one whole line.

    Parameters
    ----------
    context
        Place of this rank.
    debug, quiet
        More, or warnings only.
    bar
        Whether a progress bar says already what lines on the progress would.

    Returns
    -------
    Console
        What messages are written to, so that a bar can stay below them.
    """
    level = logging.DEBUG if debug else logging.INFO if context.rank == 0 and not quiet else logging.WARNING
    console = Console(stderr=True)
    handler = _on_terminal(console, debug=debug) if console.is_terminal else _as_lines()
    handler.setLevel(level)
    handler.addFilter(RankFilter(context))
    if bar and console.is_terminal:
        handler.addFilter(is_worth_a_terminal)
    package = logging.getLogger(_PACKAGE)
    package.handlers = [handler]
    package.propagate = False
    package.setLevel(level)
    return console


def _on_terminal(console: Console, *, debug: bool) -> logging.Handler:
    handler = RichHandler(
        console=console,
        show_path=debug,
        markup=False,
        rich_tracebacks=False,
        log_time_format=_TIME_FORMAT,
        omit_repeated_times=False,
    )
    handler.setFormatter(logging.Formatter("%(rank_prefix)s%(message)s"))
    return handler


def _as_lines() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(rank_prefix)s%(message)s", _TIME_FORMAT))
    return handler


def log_to_folder(output_dir: Path, rank: int) -> None:
    """Append this package's log, INFO and up, to ``output_dir/logs/rank-NNNNN.jsonl`` as well."""
    package = logging.getLogger(_PACKAGE)
    package.addHandler(JsonLines(output_dir / FOLDER / f"rank-{rank:05d}.jsonl", rank))
    package.setLevel(min(package.level, logging.INFO))


def log_to_file(level: int, message: str, error: BaseException | None = None) -> None:
    """Write a message, with the traceback of an error, to the log file of this rank only."""
    package = logging.getLogger(_PACKAGE)
    trace = None if error is None else (type(error), error, error.__traceback__)
    record = package.makeRecord(package.name, level, __file__, 0, "%s", (message,), trace)
    for handler in package.handlers:
        if isinstance(handler, JsonLines):
            handler.handle(record)
