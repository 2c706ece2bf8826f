"""The record of a run, ``run.json``: the command, the settings of each stage and where they came from, and versions.

A stage of an earlier command stays in it as long as it is of the same scan: the training whose network a later
``infer`` uses, for example.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from ptycho_dist.atomic import atomic_path
from ptycho_dist.earlier_results import RUN_RECORD
from ptycho_dist.version import package_version

TRAINING, PREDICTION, REFINEMENT = "training", "prediction", "refinement"
TIMES = "times"
"""Seconds of each stage and largest memory, by rank."""
_PACKAGES = ("torch", "lightning", "numpy", "scipy", "h5py")


def begin_record(output_dir: Path, command: Sequence[str], scan: Mapping[str, Any]) -> None:
    """Begin the record of a command; for one process of the job.

    Parameters
    ----------
    output_dir
        Folder of the results; it exists.
    command
        What was typed, program name left out; empty where that is not known.
    scan
        Plain values that name the scan, with its ``checksum``.
    """
    earlier = read_record(output_dir)
    is_same = earlier.get("scan", {}).get("checksum") == scan["checksum"]
    stages = earlier.get("stages", {}) if is_same else {}
    _write(
        output_dir,
        {
            "command": list(command),
            "begun": datetime.now(UTC).isoformat(timespec="seconds"),
            "scan": dict(scan),
            "host": platform.node(),
            "versions": _versions(),
            "stages": stages,
        },
    )


def note_stage(output_dir: Path, stage: str, **facts: Any) -> None:
    """Add plain values to what is known of a stage; those of the same name are replaced."""
    record = read_record(output_dir)
    if record:
        stages = record["stages"]
        _write(output_dir, record | {"stages": stages | {stage: stages.get(stage, {}) | facts}})


def note_times(output_dir: Path, times: Mapping[str, Any]) -> None:
    """Write down seconds of the stages and memory, by rank; those of an earlier command are replaced."""
    record = read_record(output_dir)
    if record:
        _write(output_dir, record | {TIMES: dict(times)})


def read_record(output_dir: Path) -> dict[str, Any]:
    """Read the record of a folder; empty where there is none, or one that cannot be understood."""
    try:
        record = json.loads((output_dir / RUN_RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("stages"), dict) else {}


def _versions() -> dict[str, str]:
    found = {"ptycho-dist": package_version(), "python": platform.python_version()}
    return found | {name: metadata.version(name) for name in _PACKAGES}


def _write(output_dir: Path, record: Mapping[str, Any]) -> None:
    with atomic_path(output_dir / RUN_RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8")
