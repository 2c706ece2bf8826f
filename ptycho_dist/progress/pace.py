"""How fast a stage goes, and how long the rest of it and of the job takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

_WINDOW_S, _SPACING_S = 10.0, 0.2
"""Time that a rate is taken over, and the shortest time between two points of it."""
_LEAST_POINTS = 3


@dataclass(frozen=True)
class Point:
    """What was done at a time.

    Parameters
    ----------
    at_s
        Seconds of the clock.
    done
        Steps, iterations or whatever is counted.
    patterns
        Patterns that were worked on.
    """

    at_s: float
    done: float
    patterns: float


class Pace:
    """Rate over the last ten seconds, or the last units where one takes longer.

    Parameters
    ----------
    start
        Where the counting begins.
    """

    def __init__(self, start: Point) -> None:
        self._points = deque([start])
        self._latest = start

    def add(self, point: Point) -> None:
        """Take in what was done by now."""
        self._latest = point
        if point.at_s - self._points[-1].at_s < _SPACING_S:
            return
        self._points.append(point)
        while len(self._points) > _LEAST_POINTS and point.at_s - self._points[1].at_s > _WINDOW_S:
            self._points.popleft()

    @property
    def patterns_per_s(self) -> float | None:
        """Patterns a second; None before anything is known."""
        seconds, patterns = self._seconds(), self._latest.patterns - self._points[0].patterns
        return patterns / seconds if seconds > 0 and patterns > 0 else None

    @property
    def done_per_s(self) -> float | None:
        """Units a second; None before anything is known."""
        seconds, done = self._seconds(), self._latest.done - self._points[0].done
        return done / seconds if seconds > 0 and done > 0 else None

    def left_s(self, total: float | None, now_s: float) -> float | None:
        """Seconds until ``total`` units are done; None where that is not known."""
        rate = self.done_per_s
        if total is None or rate is None:
            return None
        return max(0.0, (total - self._latest.done) / rate - (now_s - self._latest.at_s))

    def _seconds(self) -> float:
        return self._latest.at_s - self._points[0].at_s


@dataclass(frozen=True)
class Share:
    """A stage as the estimate of the whole job sees it.

    Parameters
    ----------
    weight
        Expected cost, in a unit that all stages of the job share; 0 where the cost has nothing to do with the others'.
    spent_s
        Seconds it has taken so far; None where it has not begun.
    left_s
        Seconds it still takes; 0 for one that has ended, None where that is not known.
    """

    weight: float
    spent_s: float | None = None
    left_s: float | None = None


def job_left_s(shares: Sequence[Share]) -> float | None:
    """Seconds until the last stage has ended; None where that is not known.

    Stages whose end is known give the seconds of a unit of weight; the others are estimated from that. Nothing is
    known before the first of those, nor of a stage that has taken longer than was estimated.
    """
    known = [one for one in shares if one.weight > 0 and one.spent_s is not None and one.left_s is not None]
    weights = sum(one.weight for one in known)
    per_weight = sum((one.spent_s or 0.0) + (one.left_s or 0.0) for one in known) / weights if weights else None
    left = 0.0
    for one in shares:
        if one.left_s is not None:
            left += one.left_s
        elif one.weight > 0:
            expected_s = 0.0 if per_weight is None else one.weight * per_weight - (one.spent_s or 0.0)
            if expected_s <= 0:
                return None
            left += expected_s
    return left
