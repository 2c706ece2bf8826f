"""The index of a set of scans: which files belong to it, and what is in each.

A set is a folder of ordinary scan files with an index, ``set.json``, that is written last:
``format`` ("ptycho_dist_set"), ``schema_version`` (1), ``scans`` (one object for each file: ``file``,
``n_bytes``, ``checksum``, ``n_patterns``, ``N``, ``n_modes``, ``mean_counts``) and ``metadata``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

from ptycho_dist.atomic import atomic_path
from ptycho_dist.config.fields import coerce, field_types
from ptycho_dist.data.formats.base import ScanOptions
from ptycho_dist.data.scan import read_header
from ptycho_dist.errors import ConfigError, DataFormatError

INDEX_NAME = "set.json"
SET_FORMAT = "ptycho_dist_set"
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class SetEntry:
    """One scan of a set.

    Parameters
    ----------
    file
        Name of the file in the folder of the set.
    n_bytes, checksum
        Its size, and its checksum as in :class:`~ptycho_dist.types.ScanHeader`.
    n_patterns, N, n_modes
        Number and side of its patterns; number of its probe modes.
    mean_counts
        Mean photon count of a pattern.
    """

    file: str
    n_bytes: int
    checksum: str
    n_patterns: int
    N: int
    n_modes: int
    mean_counts: float


def is_set_folder(path: Path) -> bool:
    """Tell whether a folder has an index of scans."""
    return (path / INDEX_NAME).is_file()


def entry_of(path: Path, options: ScanOptions | None = None) -> SetEntry:
    """Describe a scan file as part of a set.

    Raises
    ------
    DataFormatError
        If it is no scan.
    """
    header = read_header(path, options)
    return SetEntry(
        file=path.name,
        n_bytes=path.stat().st_size,
        checksum=header.checksum,
        n_patterns=header.n_patterns,
        N=header.N,
        n_modes=header.n_modes,
        mean_counts=header.mean_counts,
    )


def write_index(folder: Path, entries: Sequence[SetEntry], metadata: Mapping[str, Any] | None = None) -> Path:
    """Make a set of scan files that lie in a folder.

    Parameters
    ----------
    folder
        Folder of the files, and of the index.
    entries
        Its scans, in order; see :func:`entry_of`.
    metadata
        Anything else worth keeping; must go into JSON.

    Raises
    ------
    DataFormatError
        If the scans do not fit together.
    """
    path = folder / INDEX_NAME
    _require_alike(path, entries)
    scans = [asdict(entry) for entry in entries]
    content = {"format": SET_FORMAT, "schema_version": SCHEMA_VERSION, "scans": scans, "metadata": dict(metadata or {})}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


def read_index(folder: Path) -> tuple[SetEntry, ...]:
    """Read which scans belong to a set; that all files are there, of the size stated, is checked.

    Raises
    ------
    DataFormatError
        If the folder is no set, a file is missing or has another size, or the scans do not fit together.
    """
    path = folder / INDEX_NAME
    entries = tuple(_entry(path, number, raw) for number, raw in enumerate(_read_scans(path)))
    _require_alike(path, entries)
    for entry in entries:
        _require_file(folder, entry)
    return entries


def checksum_of(entries: Sequence[SetEntry]) -> str:
    """SHA-256 (hex) over the checksums of all scans, in order."""
    return hashlib.sha256("\n".join(entry.checksum for entry in entries).encode()).hexdigest()


def _read_scans(path: Path) -> list[Any]:
    if not path.is_file():
        found = "is missing" if not path.parent.exists() else f"has no {INDEX_NAME}"
        msg = (
            f"{path.parent} {found}; expected a scan file, or a set of scans as 'ptycho-dist simulate FOLDER --n_scans "
            f"24' writes it ({INDEX_NAME} comes last, so an interrupted one has none). Check the path, or make it."
        )
        raise DataFormatError(msg)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        _refuse(path, f"is not JSON ({error})")
    if not isinstance(content, dict) or content.get("format") != SET_FORMAT:
        _refuse(path, f"does not say format {SET_FORMAT!r}")
    if content.get("schema_version") != SCHEMA_VERSION:
        _refuse(path, f"has schema_version {content.get('schema_version')!r}; expected {SCHEMA_VERSION}")
    scans = content.get("scans")
    if not isinstance(scans, list) or not scans:
        _refuse(path, "lists no scans")
    return scans


def _entry(path: Path, number: int, raw: Any) -> SetEntry:
    names = [field.name for field in fields(SetEntry)]
    if not isinstance(raw, dict) or sorted(raw) != sorted(names):
        _refuse(path, f"describes scan {number} as {raw!r}; expected {', '.join(names)}")
    try:
        entry = SetEntry(**{name: coerce(name, raw[name], kind) for name, kind in field_types(SetEntry).items()})
    except ConfigError as error:
        _refuse(path, f"describes scan {number} wrongly: {error}")
    if Path(entry.file).name != entry.file or entry.n_patterns < 1 or not entry.mean_counts > 0:
        _refuse(
            path, f"describes scan {number} as {raw!r}; expected the name of a file beside it, and positive numbers"
        )
    return entry


def _require_file(folder: Path, entry: SetEntry) -> None:
    path = folder / entry.file
    if not path.is_file():
        msg = (
            f"{path} is missing, which {folder / INDEX_NAME} lists; expected all its scans. Copy or make the set again."
        )
        raise DataFormatError(msg)
    size = path.stat().st_size
    if size != entry.n_bytes:
        msg = (
            f"{path} has {size} bytes, but {folder / INDEX_NAME} says {entry.n_bytes}; it is truncated or was changed. "
            "Copy or make the set again."
        )
        raise DataFormatError(msg)


def _require_alike(path: Path, entries: Sequence[SetEntry]) -> None:
    """Refuse scans that cannot be trained on together."""
    if not entries:
        _refuse(path, "lists no scans")
    first = entries[0]
    for entry in entries:
        for name, what in (("N", "pixels along one side of a pattern"), ("n_modes", "probe modes")):
            if getattr(entry, name) != getattr(first, name):
                msg = (
                    f"{entry.file} has {getattr(entry, name)} {what}, {first.file} has {getattr(first, name)}; "
                    f"expected the same in all scans of {path.parent}. Make a set of those that agree."
                )
                raise DataFormatError(msg)
    names = [entry.file for entry in entries]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        _refuse(path, f"lists {twice} twice")


def _refuse(path: Path, found: str) -> NoReturn:
    msg = f"{path} {found}; expected the index of a set of scans. Make the set again with 'ptycho-dist simulate'."
    raise DataFormatError(msg)
