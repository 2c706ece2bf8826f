"""The one line that ends a job: what it wrote, where, and how long it took; or what it kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ptycho_dist.errors import FolderInUseError
from ptycho_dist.launching.rank_logging import FOLDER, log_to_file
from ptycho_dist.run_folder import METRICS, PRODUCTS

logger = logging.getLogger(__name__)

_MOST = 12
PICTURES = ("report.html", "overview.png")
"""What a person looks at, best first."""

Entries = Mapping[Path, int]


@contextmanager
def reported(folder: Path, rank: int = 0) -> Iterator[None]:
    """Log at the end, on rank 0, what a job wrote into a folder; on every rank, log the error that ends it.

    A folder of another job is left alone.

    Parameters
    ----------
    folder
        Folder of the results.
    rank
        Number of this rank.
    """
    before, started = entries(folder), time.monotonic()
    try:
        yield
    except FolderInUseError:
        raise
    except BaseException as error:
        log_to_file(logging.ERROR, f"{type(error).__name__}: {error}", error)
        if rank == 0:
            _tell_what_is_kept(before, entries(folder), time.monotonic() - started)
        raise
    if rank == 0:
        after = entries(folder)
        logger.info("%s", written_line(before, after, time.monotonic() - started))
        look = where_to_look(before, after)
        if look:
            logger.info("%s", look)


def _tell_what_is_kept(before: Entries, after: Entries, seconds: float) -> None:
    """Tell it to a person where the job has written more than its log; else the error alone is enough."""
    line = kept_line(before, after, seconds)
    if any(path.name != FOLDER for path in _changed(before, after)):
        logger.warning("%s", line)
    else:
        log_to_file(logging.INFO, line)


def entries(folder: Path) -> Entries:
    """Files and folders in a folder, with the time (ns) of their newest change; hidden ones left out."""
    if not folder.is_dir():
        return {}
    return {path: _newest(path) for path in sorted(folder.iterdir()) if not path.name.startswith(".")}


def written_line(before: Entries, after: Entries, seconds: float) -> str:
    """Say what a job wrote."""
    return f"written: {_listed(_changed(before, after))}, in {seconds:.0f} s"


def where_to_look(before: Entries, after: Entries) -> str:
    """Say what a person looks at first of what a job wrote; empty where it made no result."""
    changed = _changed(before, after)
    shown = [str(path) for name in PICTURES for path in changed if path.name == name]
    product = next((path for name in PRODUCTS for path in changed if path.name == name), None)
    if not shown or product is None:
        return ""
    return f"look at {' or '.join(shown)}; the object is in {product} (numbers: {product.parent / METRICS})"


def kept_line(before: Entries, after: Entries, seconds: float) -> str:
    """Say what there is after a job that did not end well."""
    changed = _changed(before, after)
    old = [path for path in after if path not in changed]
    return f"not finished, after {seconds:.0f} s; written so far: {_listed(changed)}; as before: {_listed(old)}"


def _changed(before: Entries, after: Entries) -> list[Path]:
    return [path for path, newest in after.items() if before.get(path) != newest]


def _listed(paths: list[Path]) -> str:
    more = f" and {len(paths) - _MOST} more" if len(paths) > _MOST else ""
    return (", ".join(str(path) for path in paths[:_MOST]) or "nothing") + more


def _newest(path: Path) -> int:
    """Time of the newest change of a path and of what lies directly in it; 0 if it has gone meanwhile."""
    inside = list(path.iterdir()) if path.is_dir() else []
    return max((_changed_ns(one) for one in (path, *inside)), default=0)


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
