"""What an earlier job left in an output folder, so that it never stands beside the results of another scan."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from ptycho_dist.atomic import atomic_path

logger = logging.getLogger(__name__)

TRAINING, SHARDS, NETWORK, PRODUCT = "training", "shards", "network", "product"
RESULTS = {
    TRAINING: ("bundle", "checkpoints", "previews", "logs/metrics.csv", "logs/events.out.tfevents.*"),
    SHARDS: ("shards",),
    NETWORK: (
        "network.h5",
        "network_metrics.json",
        "network_frames.csv",
        "network_overview.png",
        "network_report.html",
    ),
    PRODUCT: ("reconstruction.h5", "metrics.json", "frames.csv", "overview.png", "logs/refine.csv", "logs/refinement"),
}
"""Kinds of results, and their names; a star stands for any characters."""
MADE_BY = {
    "train": (TRAINING,),
    "infer": (SHARDS, NETWORK, PRODUCT),
    "reconstruct": (TRAINING, SHARDS, NETWORK, PRODUCT),
    "refine": (PRODUCT,),
}
"""Kinds that a command makes; those of an earlier job are never kept beside its own."""
RUN_RECORD = "run.json"
"""The record of a run: command, settings, times."""
TOLD_OF_ALL = ("report.html", RUN_RECORD)
"""What each command writes anew of all results in a folder; a copy stays with results that are set aside."""
RECORD = ".scans.json"
"""Which scan each kind of results was made from."""

_NEVER_CHANGED_IN_PLACE = (".h5", ".safetensors", ".ckpt")
"""Suffixes of files that are only ever replaced by new ones, so that another name for one costs nothing."""

Ages = Mapping[str, int]
"""Names of results, and the time (ns) of their newest change."""


def found_in(folder: Path) -> dict[str, int]:
    """Results that are in a folder, with the time of their newest change."""
    return {str(path.relative_to(folder)): _newest(path) for kind in RESULTS for path in _paths(folder, kind)}


def keep(folder: Path, command: str) -> Path | None:
    """Keep what a command is about to replace: under other names, while the results stay as they are.

    Parameters
    ----------
    folder
        Output folder.
    command
        Name of the command.

    Returns
    -------
    Path or None
        Hidden folder with what is kept; :func:`settle` shows it. None where nothing is there.
    """
    names = [str(path.relative_to(folder)) for kind in MADE_BY[command] for path in _paths(folder, kind)]
    if not names:
        return None
    kept = folder / f".{_dated_name()}"
    for name in (*names, *(one for one in TOLD_OF_ALL if (folder / one).is_file())):
        (kept / name).parent.mkdir(parents=True, exist_ok=True)
        if (folder / name).is_dir():
            shutil.copytree(folder / name, kept / name, copy_function=_keep_file)
        else:
            _keep_file(folder / name, kept / name)
    return kept


def settle(
    folder: Path,
    before: Ages,
    command: str,
    scan_checksum: str,
    inputs: Iterable[Path],
    kept: Path | None = None,
) -> Path | None:
    """Set aside what the job that ends now has replaced or not made anew, and note which scan its results are of.

    A kind of results stays where the job has read it, or where it is of the same scan and not of a kind that
    the command makes.

    Parameters
    ----------
    folder
        Output folder.
    before
        What was there when the job began.
    command
        Name of the command.
    scan_checksum
        SHA-256 of the scan that the job worked on.
    inputs
        Files and folders that the job has read.
    kept
        Where :func:`keep` has kept what the job has replaced; None where nothing is kept.

    Returns
    -------
    Path or None
        Where the earlier results are now; None where there were none.
    """
    now, record = found_in(folder), _read(folder)
    read = [path.resolve() for path in inputs]
    stale: list[str] = []
    for kind in RESULTS:
        names = [str(path.relative_to(folder)) for path in _paths(folder, kind)]
        old = [name for name in names if before.get(name) == now[name]]
        if len(old) < len(names):
            record[kind] = scan_checksum
        is_of_scan = kind not in MADE_BY[command] and record.get(kind) == scan_checksum
        if not is_of_scan and not _is_read(folder, kind, read):
            stale += old
    if record:
        with atomic_path(folder / RECORD) as temporary:
            temporary.write_text(json.dumps(record), encoding="utf-8")
    if kept is not None:
        _forget(kept, [name for name in now if before.get(name) == now[name]])
    return _set_aside(folder, stale, kept)


def _keep_file(source: str | Path, target: str | Path) -> None:
    """Give a file a second name; copy it where it may be written to, or where there are no hard links."""
    if Path(source).suffix in _NEVER_CHANGED_IN_PLACE:
        try:
            os.link(source, target)
        except OSError:  # the copy tells what is wrong, if it is not the lack of hard links
            shutil.copy2(source, target)
        return
    shutil.copy2(source, target)


def _forget(kept: Path, names: Iterable[str]) -> None:
    """Remove second names of what the job has left as it was."""
    for name in names:
        shutil.rmtree(kept / name) if (kept / name).is_dir() else (kept / name).unlink(missing_ok=True)


def _set_aside(folder: Path, stale: Iterable[str], kept: Path | None) -> Path | None:
    """Move results to a new folder beside the others, whose name tells when; what was kept is in it already."""
    aside = folder / _dated_name() if kept is None else folder / kept.name.lstrip(".")
    if kept is not None and kept.is_dir():
        kept.rename(aside)
    for name in stale:
        (aside / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).rename(aside / name)
    held = sorted(found_in(aside)) if aside.is_dir() else []
    if not held:
        shutil.rmtree(aside, ignore_errors=True)
        return None
    logger.warning("results of an earlier job that were here are now in %s: %s", aside, ", ".join(held))
    return aside


def _dated_name() -> str:
    return f"earlier-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"


def _is_read(folder: Path, kind: str, read: Iterable[Path]) -> bool:
    """Tell whether a job has read results of a kind; who names the folder means the bundle in it."""
    own = folder.resolve()
    paths = [path.resolve() for path in _paths(folder, kind)]
    return any(
        path in paths or not set(path.parents).isdisjoint(paths) or (kind == TRAINING and path == own) for path in read
    )


def _paths(folder: Path, kind: str) -> Iterator[Path]:
    for name in RESULTS[kind]:
        place = folder / Path(name).parent
        yield from sorted(place.glob(Path(name).name)) if place.is_dir() else ()


def _read(folder: Path) -> dict[str, str]:
    """Read which scan each kind of results is of; those of an unknown origin are not in it."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _newest(path: Path) -> int:
    """Time of the newest change of a file, or of a folder and what lies in it."""
    inside = path.iterdir() if path.is_dir() else ()
    return int(max(one.stat().st_mtime_ns for one in (path, *inside)))
