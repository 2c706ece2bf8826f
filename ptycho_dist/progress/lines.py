"""Progress as lines of the log: one every few seconds, fewer the longer a job takes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ptycho_dist.progress.snapshot import RUNNING, Snapshot
from ptycho_dist.progress.words import line

logger = logging.getLogger(__name__)

PASSING = "is_passing"
"""Attribute of the records of lines that a progress bar makes needless."""
_LEAST_S, _MOST_S, _SHARE = 5.0, 60.0, 60
"""Shortest and longest time between two lines; in between a sixtieth of what the job has taken."""
_WORTH_S = 2.0
"""Shorter stages without numbers of their own have no line at their end."""


class Lines:
    """Logs a line every few seconds, and at the end of each stage that counted something.

    Parameters
    ----------
    clock
        Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told_s = clock()

    def tell(self, now: Snapshot) -> None:
        """Log a snapshot, if it is time."""
        if not now.stage or now.state != RUNNING:
            return
        if now.ends_stage:
            is_worth = bool(now.values) or (now.done > 0 and now.stage_s >= _WORTH_S)
        else:
            is_worth = self._clock() - self._told_s >= min(_MOST_S, max(_LEAST_S, now.job_s / _SHARE))
        if is_worth:
            self._told_s = self._clock()
            logger.info("%s", line(now), extra={PASSING: not now.ends_stage})

    def close(self) -> None:
        """Do nothing."""


def is_worth_a_terminal(record: logging.LogRecord) -> bool:
    """Tell whether a record is to be shown beside a progress bar."""
    return not getattr(record, PASSING, False)
