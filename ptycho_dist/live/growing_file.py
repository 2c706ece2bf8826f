"""A scan file that another process is writing: HDF5 in SWMR form, or a DECTRIS master whose files of frames appear."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.data.adjust import adjust
from ptycho_dist.data.formats.base import RawScan
from ptycho_dist.data.formats.chosen_frames import chosen
from ptycho_dist.data.formats.intensity import read_numbers
from ptycho_dist.data.formats.registry import open_growing
from ptycho_dist.errors import DataFormatError
from ptycho_dist.hdf5_files import describe_refusal, open_for_following, open_for_reading
from ptycho_dist.live.arrivals import AT_ONCE, FIRST, Arrived, Recorded, Tally
from ptycho_dist.live.recording import NAME, record

logger = logging.getLogger(__name__)

_COMPLETE = "complete"
"""Attribute of the file by which a writer says that the scan has ended."""


class GrowingFile:
    """A scan in a file that grows.

    Rows are taken in the order of the file, from the first on that was not delivered yet. Rows at the end that hold no
    count wait: HDF5 may show a row before its counts.

    Parameters
    ----------
    path
        The file; it need not be there yet.
    options
        What it leaves open.
    """

    def __init__(self, path: Path, options: ScanOptions) -> None:
        self._path, self._options = path, options
        self._opened: RawScan | None = None
        self._known: RawScan | None = None
        self._done = self._held = self._unplaced = 0
        self._is_closed = self._says_complete = False
        self._waits_for = f"{path} to appear"

    @property
    def name(self) -> str:
        """Name of the file."""
        return self._path.name

    @property
    def waits_for(self) -> str:
        """Why nothing more was read."""
        return self._waits_for

    @property
    def scan(self) -> RawScan | None:
        """The scan as it was opened first."""
        return self._known

    @property
    def has_ended(self) -> bool:
        """Whether the writer has closed the file, or says that the scan is complete."""
        return (self._is_closed or self._says_complete) and self._done >= self._held and not self._unplaced

    def poll(self) -> Arrived | None:
        """Deliver rows that are new."""
        if not self._path.is_file():
            return None
        was_closed = self._closed()
        try:
            with open_for_following(self._path) as file:
                self._says_complete = bool(file.attrs.get(_COMPLETE, False))
                opened = open_growing(self._path, self._options, self._opened)
                if opened.n_announced is not None:
                    was_closed = opened.patterns.shape[0] + opened.n_unplaced >= opened.n_announced
                arrived = self._read(opened, ends=was_closed or self._says_complete)
        except OSError as error:
            self._waits_for = f"{self._path} is {describe_refusal(error)}"
            return None
        except DataFormatError as error:
            self._waits_for = str(error)
            return None
        self._is_closed = was_closed
        return arrived

    def tally(self) -> Tally:
        """Count rows."""
        return Tally(received=self._done + self._unplaced, waiting=self._unplaced)

    def missing(self) -> tuple[int, ...]:
        """Return no number: rows of a file follow each other."""
        return ()

    def finish(self, folder: Path) -> Recorded:
        """Give the file itself where it is closed; else what is in it, copied."""
        if self._closed():
            return Recorded(self._path, is_ours=False)
        logger.warning("%s is still open in its writer; its %d patterns are copied", self._path, self._done)
        with open_for_following(self._path):
            raw = adjust(self._path, open_growing(self._path, self._options, self._opened), self._options)
            rows = np.arange(self._done)
            some = replace(raw, patterns=chosen(raw.patterns, rows), positions_px=raw.positions_px[rows])
            written = record(folder / NAME, [some])
            raw.patterns.close()
        return Recorded(written, is_ours=True)

    def close(self) -> None:
        """Do nothing: the file is closed after each look."""

    def _closed(self) -> bool:
        """Tell whether no process has the file open for writing, as it says of itself."""
        try:
            open_for_reading(self._path).close()
        except OSError:
            return False
        return True

    def _read(self, opened: RawScan, *, ends: bool) -> Arrived | None:
        """Read rows that are new; when the scan has ended they hold what they hold."""
        self._held, self._unplaced = opened.patterns.shape[0], opened.n_unplaced
        if self._known is None and self._held < FIRST and not ends:
            self._waits_for = f"{self._path} to hold {FIRST} patterns; it has {self._held}"
            return None
        raw = adjust(self._path, opened, self._options, is_part=self._known is not None)
        self._opened, self._known = self._opened or opened, self._known or raw
        index = np.arange(self._done, min(self._held, self._done + AT_ONCE))
        try:
            counts = read_numbers(self._path, raw, index)
        finally:
            raw.patterns.close()
        lit = np.flatnonzero(counts.any(axis=(1, 2)))
        count = len(index) if ends else int(lit[-1]) + 1 if len(lit) else 0
        self._waits_for = f"more patterns in {self._path}, or its end"
        if self._unplaced:
            self._waits_for = f"positions of {self._unplaced} frames in {self._path}"
        if not count:
            return None
        self._done += count
        return Arrived(index[:count], counts[:count], raw.positions_px[index[:count]])
