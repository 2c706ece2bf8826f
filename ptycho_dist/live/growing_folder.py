"""A folder in which files of one scan appear, each with some of its patterns, or the files of a DECTRIS master."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.data.adjust import adjust
from ptycho_dist.data.formats.base import RawScan
from ptycho_dist.data.formats.containers import container_of
from ptycho_dist.data.formats.intensity import read_numbers
from ptycho_dist.data.formats.registry import open_raw
from ptycho_dist.errors import DataFormatError
from ptycho_dist.live.arrivals import AT_ONCE, Arrived, Recorded, Tally, gaps
from ptycho_dist.live.growing_file import GrowingFile
from ptycho_dist.live.recording import NAME, record

logger = logging.getLogger(__name__)

COMPLETE = "COMPLETE"
"""Name of the file by which a writer says that no more will come."""
_STILL_S = 0.5
"""Time in which a file must not have changed before it is read."""
_LOOK_EVERY_S = 0.1
_MASTER = "*_master.h5"
_NUMBERS = re.compile(r"(\d+)")
_IGNORED = (".tmp", ".part", ".partial")


@dataclass(frozen=True)
class _Part:
    """A file that is whole, and the number of its first pattern among those delivered."""

    path: Path
    raw: RawScan
    first: int


class GrowingFolder:
    """Files of one kind that appear one after the other.

    A file is read when it has not changed for a moment and opens as a scan. It belongs to the scan from then on.

    Parameters
    ----------
    folder
        The folder.
    options
        What the files leave open.
    """

    def __init__(self, folder: Path, options: ScanOptions) -> None:
        self._folder, self._options = folder, options
        self._master: GrowingFile | None = None
        self._parts: list[_Part] = []
        self._seen: dict[Path, tuple[tuple[int, int], float]] = {}
        self._refused: dict[Path, tuple[int, int]] = {}
        self._why: dict[Path, str] = {}
        self._given = 0
        self._late = 0
        self._looked = 0.0
        self._waits_for = f"a scan file in {folder}"

    @property
    def name(self) -> str:
        """Name of the folder, or of the master in it."""
        return self._folder.name if self._master is None else self._master.name

    @property
    def waits_for(self) -> str:
        """What is to come next, in words."""
        return self._waits_for if self._master is None else self._master.waits_for

    @property
    def scan(self) -> RawScan | None:
        """The scan of the first file."""
        if self._master is not None:
            return self._master.scan
        return self._parts[0].raw if self._parts else None

    @property
    def has_ended(self) -> bool:
        """Whether the writer says so, and all files have been read."""
        if self._master is not None:
            return self._master.has_ended
        if not (self._folder / COMPLETE).is_file() or self._given < self._received():
            return False
        return bool(self._parts) and all(self._refused.get(one) == _state(one) for one in self._unread())

    def poll(self) -> Arrived | None:
        """Deliver patterns of files that are whole."""
        if self._master is None and not self._parts:
            found = sorted(self._folder.glob(_MASTER))
            self._master = GrowingFile(found[0], self._options) if found else None
        if self._master is not None:
            return self._master.poll()
        if self._given >= self._received():
            self._look()
        return self._deliver() if self._given < self._received() else None

    def tally(self) -> Tally:
        """Count patterns of whole files."""
        if self._master is not None:
            return self._master.tally()
        return Tally(received=self._received(), out_of_order=self._late)

    def finish(self, folder: Path) -> Recorded:
        """Write the patterns of all files as one scan, in the order of their names."""
        if self._master is not None:
            return self._master.finish(folder)
        for path in self._unread():
            logger.warning("%s was not read: %s", path, self._why.get(path, "it changed up to the end"))
        parts = [part.raw for part in sorted(self._parts, key=lambda part: _natural(part.path))]
        return Recorded(record(folder / NAME, parts), is_ours=True)

    def close(self) -> None:
        """Close the files."""
        for part in self._parts:
            part.raw.patterns.close()

    def missing(self) -> tuple[int, ...]:
        """Return numbers in names of files that did not come, though smaller and larger ones did."""
        numbers = [int(found[-1]) for part in self._parts if (found := _NUMBERS.findall(part.path.stem))]
        low = min(numbers, default=0)
        return tuple(low + one for one in gaps(sorted(one - low for one in set(numbers))))

    def _received(self) -> int:
        return self._parts[-1].first + self._parts[-1].raw.patterns.shape[0] if self._parts else 0

    def _unread(self) -> list[Path]:
        """Files that may be scans and were not read."""
        read = {part.path for part in self._parts}
        files = (one for one in self._folder.iterdir() if one.is_file() and not one.name.startswith("."))
        return sorted((one for one in files if one not in read and _may_be_scan(one)), key=_natural)

    def _look(self) -> None:
        """Open files that have not changed for a moment."""
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY_S:
            return
        self._looked = now
        for path in self._unread():
            state = _state(path)
            before, since = self._seen.get(path, (None, now))
            if state != before:
                self._seen[path] = (state, now)
            elif now - since >= _STILL_S and self._refused.get(path) != state:
                self._open(path, state)

    def _open(self, path: Path, state: tuple[int, int]) -> None:
        try:
            raw = adjust(path, open_raw(path, self._options), self._options)
            self._require_alike(path, raw)
        except DataFormatError as error:
            self._refused[path], self._why[path], self._waits_for = state, str(error), str(error)
            return
        if self._parts and _natural(path) < max(_natural(part.path) for part in self._parts):
            self._late += raw.patterns.shape[0]
        self._parts.append(_Part(path, raw, self._received()))
        self._waits_for = f"more files in {self._folder}, or a file named {COMPLETE}"

    def _require_alike(self, path: Path, raw: RawScan) -> None:
        first = self.scan
        if first is not None and raw.patterns.shape[1:] != first.patterns.shape[1:]:
            msg = (
                f"{path} has patterns of {raw.patterns.shape[1:]} pixels, {self._parts[0].path.name} of "
                f"{first.patterns.shape[1:]}; expected one size. Keep scans in folders of their own."
            )
            raise DataFormatError(msg)

    def _deliver(self) -> Arrived:
        part = next(one for one in reversed(self._parts) if one.first <= self._given)
        start = self._given - part.first
        index = np.arange(start, min(part.raw.patterns.shape[0], start + AT_ONCE))
        self._given += len(index)
        counts = read_numbers(part.path, part.raw, index)
        return Arrived(index + part.first, counts, part.raw.positions_px[index])


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _may_be_scan(path: Path) -> bool:
    return path.name != COMPLETE and path.suffix not in _IGNORED and (path.stat().st_size == 0 or _is_container(path))


def _is_container(path: Path) -> bool:
    return container_of(path) is not None


def _natural(path: Path) -> list[tuple[int, str]]:
    """Order names as people do: a number in a name counts as a number."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in _NUMBERS.split(path.name)]
