"""A set of scans, of which few are open at a time."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ptycho_dist.config.scan_options import NONE
from ptycho_dist.data.content import FileState, checksum, file_state
from ptycho_dist.data.formats.base import ScanOptions
from ptycho_dist.data.scan import Scan, open_scan, open_unselected, read_header, select_rows
from ptycho_dist.data.set_index import INDEX_NAME, SET_FORMAT, SetEntry, checksum_of, read_index
from ptycho_dist.data.survey.cache import keep, load, name_of
from ptycho_dist.data.survey.collect import as_measured, as_stored, join, survey_rows, take_sample
from ptycho_dist.distributed.collectives import all_gather_object, from_rank_0, on_all_ranks, place
from ptycho_dist.distributed.sharding import shard
from ptycho_dist.errors import DataFormatError
from ptycho_dist.launching.environment import detect
from ptycho_dist.types import ScanHeader, Shard

__all__ = [
    "KEPT_SCANS",
    "Recent",
    "ScanSet",
    "Source",
    "open_on_ranks",
    "open_set",
    "open_source",
    "read_source_header",
]

logger = logging.getLogger(__name__)
KEPT_SCANS = 64
"""Scans of a set that a process keeps open (positions, probe, mask); memory does not grow with the set."""
T = TypeVar("T")


class Recent(OrderedDict[int, T]):
    """The values used last, by number; older ones go.

    Parameters
    ----------
    most
        How many are kept.
    """

    def __init__(self, most: int = KEPT_SCANS) -> None:
        super().__init__()
        self._most = most

    def keep(self, number: int, value: T) -> T | None:
        """Keep a value; returns the one that had to go, if any."""
        self[number] = value
        return self.popitem(last=False)[1] if len(self) > self._most else None

    def use(self, number: int) -> T:
        """Return a kept value, which now was used last."""
        self.move_to_end(number)
        return self[number]


class ScanSet:
    """Scans that are trained on together; can be pickled.

    Parameters
    ----------
    folder
        Folder of the set.
    entries
        Its scans.
    options
        What the scan files leave open.
    kept
        Scans that are kept open.
    """

    def __init__(
        self, folder: Path, entries: tuple[SetEntry, ...], options: ScanOptions, kept: int = KEPT_SCANS
    ) -> None:
        self.folder, self.entries, self.options = folder, entries, options
        self.is_single = False
        """Whether this is a single scan (:meth:`of_one`)."""
        self._open: Recent[Scan] = Recent(kept)
        self._states = self._file_states()

    @classmethod
    def of_one(cls, scan: Scan) -> ScanSet:
        """See an open scan as a set of one; it stays open."""
        header = scan.header
        known = {name: getattr(header, name) for name in ("checksum", "n_patterns", "N", "n_modes", "mean_counts")}
        entry = SetEntry(file=header.path.name, n_bytes=header.path.stat().st_size, **known)
        made = cls(header.path.parent, (entry,), scan.options)
        made.is_single = True
        made._open.keep(0, scan)
        return made

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def header(self) -> ScanHeader:
        """The set as if it were one scan; ``mean_counts`` is the mean over all patterns."""
        return _header(self.folder, self.entries)

    def scan(self, number: int) -> Scan:
        """Return a scan of the set; it stays open until others were used more recently.

        Raises
        ------
        DataFormatError
            If its file is missing or damaged, or is not as the index says.
        """
        if number in self._open:
            return self._open.use(number)
        entry = self.entries[number]
        scan = open_scan(self.folder / entry.file, self.options, known_checksum=entry.checksum)
        _require_as_listed(scan.header, entry)
        gone = self._open.keep(number, scan)
        if gone is not None:
            gone.close()
        return scan

    def verify(self, share: Shard) -> None:
        """Hold the content of some files against the checksums of the index.

        Parameters
        ----------
        share
            Scans to look at.

        Raises
        ------
        DataFormatError
            Naming the first file that was changed.
        """
        for number in range(share.start, share.stop):
            entry, scan = self.entries[number], self.scan(number)
            found = checksum(scan.header.path, scan.companions)
            if found != entry.checksum:
                msg = (
                    f"{scan.header.path} has SHA-256 {found[:12]}, but {self.folder / INDEX_NAME} says "
                    f"{entry.checksum[:12]}; the file was changed. Copy or make the set again."
                )
                raise DataFormatError(msg)

    def require_unchanged(self) -> None:
        """Refuse files that were replaced or written to since the set was opened; see :meth:`Scan.require_unchanged`.

        Raises
        ------
        DataFormatError
            Naming both checksums of the first such file.
        """
        states = self._file_states()
        for number, (before, now) in enumerate(zip(self._states, states, strict=True)):
            if before != now:
                self.verify(Shard(0, 1, number, number + 1))
        self._states = states

    def _file_states(self) -> list[FileState]:
        return [file_state(self.folder / entry.file) for entry in self.entries]

    def close(self) -> None:
        """Release file handles of this process."""
        while self._open:
            self._open.popitem()[1].close()

    def __enter__(self) -> ScanSet:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


Source = Scan | ScanSet
"""What a network is trained on."""


def open_set(folder: Path, options: ScanOptions | None = None) -> ScanSet:
    """Open a set of scans; no scan is read yet.

    Raises
    ------
    DataFormatError
        If the folder is no set, or its files are not as the index says.
    """
    options = options or ScanOptions()
    if options.file_format not in ("auto", SET_FORMAT):
        msg = (
            f"data.file_format = {options.file_format!r}, but {folder} is a set of scans, whose formats are found by "
            "content; expected 'auto'. Remove it."
        )
        raise DataFormatError(msg)
    for name in ("drop_frames", "mask_saturated"):
        if getattr(options, name) not in (None, NONE, False):
            msg = (
                f"data.{name} = {getattr(options, name)!r} with the set {folder}; expected it not to be set, for the "
                f"index counts all patterns and pixels. Convert its scans with --{name}, and make a set of those."
            )
            raise DataFormatError(msg)
    return ScanSet(folder, read_index(folder), replace(options, file_format="auto"))


def open_source(path: Path, options: ScanOptions | None = None) -> Source:
    """Open a scan file, or a folder of scans; see :func:`~ptycho_dist.data.scan.open_scan` and :func:`open_set`."""
    return open_set(path, options) if path.is_dir() else open_scan(path, options)


def open_on_ranks(path: Path, options: ScanOptions | None = None) -> Source:
    """Open a scan or a set of scans on every rank; of a scan, rank 0 alone reads the file.

    The others receive what it found (header, positions, probe, mask), and open the file when they first need patterns.
    They look at its size; the first rank of each node compares a sample of its content too. A rank that was given
    another path than rank 0 opens its own file, and compares both.
    All patterns of a scan are looked at once, by all ranks together; see :mod:`ptycho_dist.data.survey`.

    Raises
    ------
    DataFormatError
        If rank 0 cannot open it, or a rank sees a file of another size or content than rank 0.
    """
    opened: list[Scan] = []

    def open_first() -> tuple[Scan, int, str] | None:
        if path.is_dir():
            return None
        opened.append(open_unselected(path, options))
        for sentence in opened[0].header.conversions:
            logger.info("%s: %s", path.name, sentence)
        return opened[0], opened[0].n_bytes, opened[0].sample_checksum()

    known = from_rank_0(open_first)

    def open_here() -> Source:
        if known is None:
            return open_set(path, options)
        return opened[0] if opened else received(path, *known)

    source = on_all_ranks(open_here)
    return source if isinstance(source, ScanSet) else _look(source)


def received(path: Path, scan: Scan, n_bytes: int, sample: str) -> Scan:
    """Take the scan that rank 0 has opened, and check that this rank sees the same file.

    Parameters
    ----------
    path
        Where this rank finds it.
    scan, n_bytes, sample
        What rank 0 opened; size in bytes, and checksum of a sample, of its files.
    """
    is_elsewhere = path != scan.header.path
    if is_elsewhere:
        here = open_unselected(path, scan.options, known_checksum=scan.header.checksum)
    else:
        here = Scan(scan.header, scan.raw, scan.options, file_state(path, scan.companions))
    if here.n_bytes != n_bytes:
        msg = (
            f"{path} has {here.n_bytes} bytes on this rank and {n_bytes} on rank 0; expected the same file. Give "
            "a path that leads all ranks to one file, or copy it again."
        )
        raise DataFormatError(msg)
    compares = is_elsewhere or detect(os.environ).local_rank == 0
    if compares and (found := here.sample_checksum()) != sample:
        msg = (
            f"a sample of {path} has the checksum {found} on this rank and {sample} on rank 0; expected the "
            "same file. Give a path that leads all ranks to one file, or copy it again."
        )
        raise DataFormatError(msg)
    return here


def _look(base: Scan) -> Scan:
    """Look at all patterns of a scan, each rank at its share, and leave out what the options say."""
    name, path, raw = name_of(base.header.checksum, base.raw), base.header.path, base.raw
    kept = from_rank_0(lambda: load(name))
    if kept is None:
        sample = from_rank_0(lambda: take_sample(path, raw))
        own = shard(len(base), *place())
        part = on_all_ranks(lambda: survey_rows(path, as_stored(raw), own, sample))
        kept = as_measured(join(all_gather_object(part)), raw)
        from_rank_0(lambda: keep(name, kept))
    return on_all_ranks(lambda: select_rows(base, kept))


def read_source_header(path: Path, options: ScanOptions | None = None) -> ScanHeader:
    """Return what is known of a scan, or of a set of scans, before patterns are read."""
    if not path.is_dir():
        return read_header(path, options)
    with open_set(path, options) as scans:
        return scans.header


def _header(folder: Path, entries: tuple[SetEntry, ...]) -> ScanHeader:
    n_patterns = sum(entry.n_patterns for entry in entries)
    return ScanHeader(
        path=folder,
        format_name=SET_FORMAT,
        n_patterns=n_patterns,
        N=entries[0].N,
        n_modes=entries[0].n_modes,
        mean_counts=sum(entry.mean_counts * entry.n_patterns for entry in entries) / n_patterns,
        nphotons=None,
        checksum=checksum_of(entries),
    )


def _require_as_listed(header: ScanHeader, entry: SetEntry) -> None:
    for name in ("n_patterns", "N", "n_modes", "mean_counts"):
        found, listed = getattr(header, name), getattr(entry, name)
        if found != listed:
            msg = (
                f"{header.path} has {name} = {found}, but {header.path.parent / INDEX_NAME} says {listed}; expected "
                "the same. Copy or make the set again."
            )
            raise DataFormatError(msg)
