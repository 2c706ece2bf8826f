"""The marker of an unfinished job: what it was, and how far it came.

``OUTPUT_DIR/unfinished.json`` exists from the start of a job to its good end.
The same command finds it and resumes it; other settings are refused, so that no
hours of work are overwritten by a typing error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ptycho_dist.atomic import atomic_path
from ptycho_dist.earlier_results import RUN_RECORD, found_in, keep, settle
from ptycho_dist.errors import ConfigError
from ptycho_dist.finished_jobs import FinishedJob, finished_job, note_finished
from ptycho_dist.version import package_version

NAME = "unfinished.json"
_LOGS = "logs"
_ABSENT = "(absent)"


def read_marker(output_dir: Path) -> dict[str, Any] | None:
    """Read the marker of an unfinished job; None where there is none.

    Raises
    ------
    ConfigError
        If it cannot be understood.
    """
    path = output_dir / NAME
    try:
        marker = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        msg = f"{path} is not JSON ({error}); expected the marker of an unfinished job. Remove it to start anew."
        raise ConfigError(msg) from error
    if not isinstance(marker, dict) or not {"command", "settings", "progress"} <= set(marker):
        msg = f"{path} lacks command, settings or progress; expected the marker of a job. Remove it to start anew."
        raise ConfigError(msg)
    return marker


def finished(output_dir: Path, command: str, asked: Mapping[str, Any]) -> FinishedJob | None:
    """Find the finished job whose results a folder holds, if it is of the same command and settings.

    Parameters
    ----------
    output_dir
        Folder of the job's results.
    command
        What is to run.
    asked
        All that is asked for, as given to :func:`finish`.

    Raises
    ------
    ConfigError
        If there is a marker of an unfinished job that cannot be understood.
    """
    return None if read_marker(output_dir) is not None else finished_job(output_dir, command, asked)


def begin(
    output_dir: Path, command: str, settings: Mapping[str, Any], *, resume: bool, overwrite: bool = False
) -> dict[str, Any] | None:
    """Mark a job as begun; for one process of the job.

    Parameters
    ----------
    output_dir
        Folder of the job's results; made if needed.
    command
        What runs, for people who read the marker.
    settings
        Everything that changes the result, as nested plain values.
    resume
        Whether to resume an unfinished job that is there.
    overwrite
        Whether results of a finished job that is there may be replaced; else they are set aside at the end.

    Returns
    -------
    dict or None
        How far the unfinished job came, if this one resumes it; else None.

    Raises
    ------
    ConfigError
        If the unfinished job has other settings, and has left more than its log.
    """
    marker = read_marker(output_dir) if resume else None
    if marker is None:
        _begin_anew(output_dir, command, settings, overwrite=overwrite)
        return None
    differing = list(_differences(marker["settings"], json.loads(json.dumps(settings))))
    if differing and not _left_something(output_dir):
        _begin_anew(output_dir, command, settings, overwrite=overwrite)
        return None
    if differing:
        msg = (
            f"{output_dir} holds an unfinished '{marker['command']}' (begun {marker.get('begun')}) with other settings:"
            f" {'; '.join(differing)}. Give the same settings to resume it, {_version_to_use(marker)}choose another "
            "--output_dir, or start anew with --resume false."
        )
        raise ConfigError(msg)
    progress: dict[str, Any] = marker["progress"]
    return progress


def note(output_dir: Path, **progress: Any) -> None:
    """Add to what is known of the progress of the job."""
    marker = read_marker(output_dir)
    if marker is not None:
        _write(output_dir, marker | {"progress": marker["progress"] | progress})


def finish(
    output_dir: Path,
    scan_checksum: str = "",
    inputs: Iterable[Path] = (),
    asked: Mapping[str, Any] | None = None,
) -> None:
    """Take the marker away: the job has ended well. What it has replaced or not made anew is set aside.

    Parameters
    ----------
    output_dir
        Folder of the job's results.
    scan_checksum
        SHA-256 of the scan that they were made from.
    inputs
        Files and folders that the job has read; they stay.
    asked
        All that was asked for, by which :func:`finished` finds the job; None to leave it unknown.
    """
    marker = read_marker(output_dir)
    if marker is None:
        return
    kept = output_dir / marker["kept"] if marker.get("kept") else None
    settle(output_dir, marker.get("earlier", {}), marker["command"], scan_checksum, inputs, kept)
    note_finished(output_dir, marker["command"], asked)
    (output_dir / NAME).unlink(missing_ok=True)


def _begin_anew(output_dir: Path, command: str, settings: Mapping[str, Any], *, overwrite: bool) -> None:
    """Mark a job that resumes nothing; what an unfinished one has kept of results before it stays kept."""
    unfinished = _unfinished(output_dir)
    if unfinished is None:
        kept = keep(output_dir, command) if output_dir.is_dir() and not overwrite else None
        held = {"earlier": found_in(output_dir) if output_dir.is_dir() else {}, "kept": kept.name if kept else None}
    else:
        held = {"earlier": found_in(output_dir), "kept": unfinished.get("kept")}
    _write(output_dir, {"command": command, "settings": dict(settings), "progress": {}, **held})


def _unfinished(output_dir: Path) -> dict[str, Any] | None:
    try:
        return read_marker(output_dir)
    except ConfigError:  # to be replaced, as the message of that error says
        return None


def _version_to_use(marker: Mapping[str, Any]) -> str:
    """Name the version that began a job, where it is not this one."""
    begun_by = marker.get("package_version", "0.1.0")
    return "" if begun_by == package_version() else f"use ptycho-dist {begun_by}, which began it, "


def _left_something(output_dir: Path) -> bool:
    """Tell whether there is anything but the marker, the record, the log and hidden files."""
    nothing = (NAME, RUN_RECORD, _LOGS)
    return any(path.name not in nothing and not path.name.startswith(".") for path in output_dir.iterdir())


def _write(output_dir: Path, marker: dict[str, Any]) -> None:
    begun = {"begun": datetime.now(UTC).isoformat(timespec="seconds"), "package_version": package_version()}
    with atomic_path(output_dir / NAME) as temporary:
        temporary.write_text(json.dumps(begun | marker, indent=1), encoding="utf-8")


def _differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """Say for each setting that differs what it was and what it is."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(key, _ABSENT), now.get(key, _ABSENT), f"{name}.{key}" if name else key)
    elif before != now:
        yield f"{name} was {before!r}, now {now!r}"
