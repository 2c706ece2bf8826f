"""Follow a scan to its end: what arrives is predicted and shown at once."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptycho_dist.config.live import LiveConfig
from ptycho_dist.errors import DataFormatError
from ptycho_dist.live.arrivals import AT_ONCE, FIRST, Arrived, Recorded, Source, Tally, named
from ptycho_dist.live.beginning import Beginning, warm_up
from ptycho_dist.live.interim import InterimObject
from ptycho_dist.live.shown import Shown
from ptycho_dist.types import FloatArray

logger = logging.getLogger(__name__)

FOLDER = "live"
_PAUSE_S = 0.02
_HEARTBEAT_S = 10.0
_TOGETHER, _LONGEST_S = 64, 0.25
"""Patterns that are predicted together, as neighbours of each other, where they come fast; longest wait for more."""


@dataclass(frozen=True)
class Followed:
    """A scan that has ended.

    Parameters
    ----------
    recorded
        Its file.
    facts
        Entries of the metrics.
    """

    recorded: Recorded
    facts: dict[str, Any]


class Follower:
    """Takes patterns from a source until the scan has ended.

    Parameters
    ----------
    source
        Where patterns come from.
    beginning
        What makes the model.
    live
        Settings.
    timeout_s
        Longest time in which nothing may arrive.
    """

    def __init__(self, source: Source, beginning: Beginning, live: LiveConfig, timeout_s: float) -> None:
        self._source, self._beginning, self._live, self._timeout_s = source, beginning, live, timeout_s
        self._interim: InterimObject | None = None
        self._shown: Shown | None = None
        self._pending: list[Arrived] = []
        self._positions: list[FloatArray] = []
        self._since = self._busy_s = 0.0

    def run(self, folder: Path) -> Followed:
        """Follow the scan, and give its file and what is known of it.

        Raises
        ------
        DataFormatError
            If nothing has arrived within the time limit.
        """
        progress = self._beginning.context.progress
        with progress.stage("following", unit="patterns"):
            return self._run(folder)

    def _run(self, folder: Path) -> Followed:
        warm_up()
        Shown.waiting(self._beginning.folder.parent, self._source.name)
        logger.info("ready; waiting for %s", self._waits_for())
        self._follow()
        if self._pending:
            self._take()
        tally = self._source.tally()
        if self._interim is None:
            msg = (
                f"nothing could be predicted of {self._source.name} within {self._timeout_s:g} s ({tally}); expected "
                f"{self._waits_for()}. Check the source, or give a larger --timeout_s."
            )
            raise DataFormatError(msg)
        missing = self._source.missing()
        _warn(tally, missing)
        self._show_last(tally)
        recorded = self._source.finish(folder)
        facts = tally.facts() | {
            "live_missing": list(missing),
            "live_patterns": self._interim.n_patterns,
            "live_busy_s": self._busy_s,
            "live_pictures": 0 if self._shown is None else self._shown.n_drawn,
        }
        return Followed(recorded, facts)

    def _follow(self) -> None:
        last = told = time.monotonic()
        received = -1
        while not self._source.has_ended:
            arrived = self._source.poll()
            now, count = time.monotonic(), self._source.tally().received
            if arrived is not None:
                self._since = self._since if self._pending else now
                self._pending.append(arrived)
            if self._is_due(now):
                self._take()
            if arrived is not None or count != received:
                last, received = now, count
                continue
            if now - last > self._timeout_s:
                logger.warning("nothing new of %s for %g s; the scan is taken as ended", self._source.name, now - last)
                return
            if now - max(last, told) > _HEARTBEAT_S:
                told = now
                logger.info("waiting for %s", self._waits_for())
            time.sleep(_PAUSE_S)

    def _is_due(self, now: float) -> bool:
        """Tell whether patterns are to be predicted now: enough of them, or some for long enough."""
        count = sum(len(one) for one in self._pending)
        if self._interim is None:
            return count >= FIRST
        return count >= _TOGETHER or (count > 0 and now - self._since >= _LONGEST_S)

    def _take(self) -> None:
        """Predict the patterns that wait, and show what has changed."""
        arrived, began = Arrived.joined(self._pending), time.monotonic()
        self._pending = []
        if self._interim is None or self._shown is None:
            self._interim, self._shown = self._begun(arrived)
        self._interim.add(arrived)
        self._positions.append(arrived.positions_px)
        self._beginning.context.progress.advance(len(arrived))
        is_behind = len(arrived) >= AT_ONCE
        self._shown.update(self._interim, self._source.tally(), self._positions, is_behind=is_behind)
        self._busy_s += time.monotonic() - began

    def _begun(self, first: Arrived) -> tuple[InterimObject, Shown]:
        """Make the model of the first patterns."""
        raw = self._source.scan
        assert raw is not None
        scan = self._beginning.scan_of(raw, first)
        shown = Shown(self._beginning.folder.parent, self._source.name, scan.header, self._live.write_every_s)
        return self._beginning.interim(scan), shown

    def _show_last(self, tally: Tally) -> None:
        assert self._interim is not None
        assert self._shown is not None
        self._shown.update(self._interim, tally, self._positions, is_last=True)

    def _waits_for(self) -> str:
        return self._source.waits_for


def _warn(tally: Tally, missing: tuple[int, ...]) -> None:
    if missing:
        logger.warning("%d of the scan did not come: numbers %s", len(missing), named(missing))
    if tally.waiting:
        logger.warning("%d frames have no position, and are left out", tally.waiting)
    if tally.duplicates:
        logger.warning("%d frames came twice; each was used once", tally.duplicates)
