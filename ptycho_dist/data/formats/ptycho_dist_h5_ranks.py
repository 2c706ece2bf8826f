"""Writer of the project's own scan layout by several ranks, each its own rows.

Each rank writes its rows to a file of its own. Then either a virtual dataset
joins these files, or, with an h5py that was built for MPI under mpirun, all
ranks copy their rows into one plain file.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptycho_dist.atomic import atomic_path, publish, sync, temporary_name
from ptycho_dist.data.formats import hdf5
from ptycho_dist.data.formats.ptycho_dist_h5_writer import (
    COPY_ROWS,
    Rows,
    ScanContent,
    create_patterns,
    smallest_common,
    write_facts,
    write_pattern_attributes,
    write_rows,
    write_scan_h5,
)
from ptycho_dist.distributed.rank_group import RankGroup
from ptycho_dist.errors import DataFormatError
from ptycho_dist.hdf5_files import open_for_reading, writing
from ptycho_dist.types import FloatArray, Shard


@dataclass(frozen=True)
class _Part:
    """The file of rows that one rank wrote; ``shape`` is (n, N, N), ``digest`` is the SHA-256 of its bytes."""

    path: Path
    digest: str
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    sums: FloatArray


def write_scan_h5_on_ranks(path: Path, content: ScanContent, rows: Shard, ranks: RankGroup) -> Path:
    """Write a scan together; the file appears under its name only when it is complete.

    A file that is there already, with the files of rows that it refers to, stays as it is until then.
    One rank alone writes one plain file.

    Parameters
    ----------
    path
        The scan file.
    content
        The same on every rank, except that ``patterns`` are those of this rank only.
    rows
        Pattern numbers of this rank.
    ranks
        Exchange with the other ranks.

    Raises
    ------
    DataFormatError
        If counts are wrong, or lengths and shapes disagree.
    OtherRankError
        If another rank has failed.
    """
    if ranks.world == 1:
        return write_scan_h5(path, content)
    token = ranks.all_gather(secrets.token_hex(4))[0]
    folder = path.with_name(f".{path.name}.parts-{token}.tmp")
    try:
        own = ranks.on_all_ranks(lambda: _write_part(folder, path, content, rows))
        parts = [part for part in ranks.all_gather(own) if part is not None]
        _require_one_side(path, parts)
        if ranks.comm is not None and h5py.get_config().mpi:
            _copy_into_one_file(path, content, parts, ranks)
        else:
            ranks.on_all_ranks(lambda: _join(path, content, parts) if ranks.rank == 0 else None)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return path


def _write_part(folder: Path, path: Path, content: ScanContent, rows: Shard) -> _Part | None:
    if len(rows) == 0:
        return None
    part = folder / f"rows-{rows.rank:05d}-of-{rows.world:05d}.h5"
    with atomic_path(part) as temporary, writing(temporary) as file:
        sums = write_rows(file, content.patterns, Rows(path, rows.start, rows.stop, content.mask))
        shape, dtype = file["patterns"].shape, file["patterns"].dtype
    sync(folder.parent)
    with part.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return _Part(part, digest, rows.start, shape, dtype, sums)


def _require_one_side(path: Path, parts: Sequence[_Part]) -> None:
    sides = sorted({part.shape[1:] for part in parts})
    if len(sides) != 1:
        msg = f"ranks wrote patterns of {sides} pixels for {path}; expected one size. Make them agree."
        raise DataFormatError(msg)


def _join(path: Path, content: ScanContent, parts: Sequence[_Part]) -> None:
    """Write the file whose patterns are a virtual dataset over the files of rows; remove those of the old file."""
    old = _folders_of_rows(path)
    folder = _place_rows(path, parts)
    try:
        _write_joined(path, content, parts, folder.name)
    except BaseException:
        if folder.resolve() not in old:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    for one in old - {folder.resolve()}:
        shutil.rmtree(one, ignore_errors=True)


def _write_joined(path: Path, content: ScanContent, parts: Sequence[_Part], folder: str) -> None:
    shape, dtype = _whole(content, parts)
    layout = h5py.VirtualLayout(shape, dtype)
    for part in parts:
        name = hdf5.as_source_name(f"{folder}/{part.path.name}")
        source = h5py.VirtualSource(name, "patterns", part.shape, part.dtype)
        layout[part.start : part.start + part.shape[0]] = source
    layout.dcpl.set_obj_track_times(False)  # h5py switches the time of writing off for other datasets only
    with atomic_path(path) as temporary, writing(temporary) as file:
        write_pattern_attributes(file.create_virtual_dataset("patterns", layout))
        write_facts(file, content, _sums(parts))


def _place_rows(path: Path, parts: Sequence[_Part]) -> Path:
    """Move the files of rows into a folder that is named after their content, so that equal scans have equal bytes."""
    digest = hashlib.sha256("".join(part.digest for part in parts).encode()).hexdigest()
    folder = path.with_name(f"{path.name}.parts-{digest[:8]}")
    folder.mkdir(exist_ok=True)
    for part in parts:
        part.path.replace(folder / part.path.name)
    sync(folder)
    sync(folder.parent)
    return folder


def _whole(content: ScanContent, parts: Sequence[_Part]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of all patterns together."""
    return (len(content.positions_px), *parts[0].shape[1:]), smallest_common([part.dtype for part in parts])


def _sums(parts: Sequence[_Part]) -> FloatArray:
    return np.concatenate([part.sums for part in parts])


def _folders_of_rows(path: Path) -> set[Path]:
    """Folders (resolved) of the rows' files that a scan refers to; empty if there is none, or it is no such scan."""
    if not path.is_file():
        return set()
    try:
        with hdf5.reading(path) as file:
            files = hdf5.source_files(file, path, ["patterns"])
    except DataFormatError:
        return set()
    return {one.parent for one in files if one.parent.name.startswith(f"{path.name}.parts-")}


def _copy_into_one_file(path: Path, content: ScanContent, parts: Sequence[_Part], ranks: RankGroup) -> None:
    """Copy all rows into one plain file, all ranks at once (parallel HDF5), then remove the files of rows."""
    temporary = Path(ranks.all_gather(str(temporary_name(path)))[0])
    shape, dtype = _whole(content, parts)
    try:
        with h5py.File(temporary, "w", driver="mpio", comm=ranks.comm) as file:
            patterns = create_patterns(file, "patterns", shape, dtype)
            write_pattern_attributes(patterns)
            write_facts(file, content, _sums(parts))
            _copy_own_rows(patterns, parts, ranks)
        ranks.on_all_ranks(lambda: _finish(temporary, path, parts[0].path.parent) if ranks.rank == 0 else None)
    finally:
        if ranks.rank == 0:
            temporary.unlink(missing_ok=True)


def _copy_own_rows(patterns: h5py.Dataset, parts: Sequence[_Part], ranks: RankGroup) -> None:
    """Copy the rows of this rank; all ranks write equally often, as compressed chunks demand."""
    own = next((part for part in parts if f"rows-{ranks.rank:05d}-of" in part.path.name), None)
    most = max(part.shape[0] for part in parts)
    with open_for_reading(parts[0].path if own is None else own.path) as file:
        for start in range(0, most, COPY_ROWS):
            stop = 0 if own is None else min(start + COPY_ROWS, own.shape[0])
            values = file["patterns"][min(start, stop) : stop]
            first = 0 if own is None else own.start + min(start, stop)
            with patterns.collective:
                patterns[first : first + len(values)] = values.astype(patterns.dtype)


def _finish(temporary: Path, path: Path, parts: Path) -> None:
    old = _folders_of_rows(path)
    publish(temporary, path)
    for folder in (parts, *old):
        shutil.rmtree(folder, ignore_errors=True)
