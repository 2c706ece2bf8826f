"""One stage of a job: what was reported of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ptycho_dist.progress.pace import Pace, Point, Share

_MOST_POINTS = 120


@dataclass
class History:
    """Numbers in the order they came, thinned out evenly where they become too many.

    Parameters
    ----------
    points
        Those that are kept.
    every
        Of how many each of them is one.
    seen
        How many came.
    """

    points: list[float] = field(default_factory=list)
    every: int = 1
    seen: int = 0

    def add(self, value: float) -> None:
        """Take one more."""
        if self.seen % self.every == 0:
            self.points.append(value)
        self.seen += 1
        if len(self.points) > _MOST_POINTS:
            self.points, self.every = self.points[::2], 2 * self.every


@dataclass(eq=False)
class Stage:
    """A stage that is planned, going on, or done.

    Parameters
    ----------
    name
        What it is called.
    weight
        Expected cost, in a unit that all stages share; 0 where it has nothing to do with the others'.
    began_s, seconds
        When it began by the clock, and how long it took; None where it has not.
    done, total, unit, patterns
        How much of how much, of what, and the patterns that were worked on.
    is_shared, note, values
        As in :class:`~ptycho_dist.progress.snapshot.Snapshot`.
    pace
        How fast it goes.
    """

    name: str
    weight: float = 0.0
    began_s: float | None = None
    seconds: float | None = None
    done: float = 0.0
    total: float | None = None
    unit: str = ""
    patterns: float = 0.0
    is_shared: bool = True
    note: str = ""
    values: dict[str, float] = field(default_factory=dict)
    pace: Pace = field(default_factory=lambda: Pace(Point(0.0, 0.0, 0.0)))

    def begin(self, now_s: float) -> None:
        """Begin now."""
        self.began_s = now_s
        self.pace = Pace(Point(now_s, 0.0, 0.0))

    def end(self, now_s: float) -> None:
        """End now."""
        self.seconds = now_s - (now_s if self.began_s is None else self.began_s)

    def expect(self, total: float | None, unit: str, done: float, from_s: float) -> None:
        """Set what there is to do, and measure the rate from then on."""
        self.total, self.unit, self.done = total, unit, done
        self.pace = Pace(Point(from_s, done, self.patterns))

    def count(self, done: float, patterns: float, now_s: float) -> None:
        """Take in what is done by now, and how many more patterns were worked on."""
        self.done, self.patterns = done, self.patterns + patterns
        self.pace.add(Point(now_s, self.done, self.patterns))

    def left_s(self, now_s: float) -> float | None:
        """Seconds it still takes, where that is known."""
        if self.seconds is not None:
            return 0.0
        return None if self.began_s is None else self.pace.left_s(self.total, now_s)

    def share(self, now_s: float) -> Share:
        """Give what the estimate of the whole job needs."""
        return Share(self.weight, None if self.began_s is None else self._spent_s(now_s), self.left_s(now_s))

    def facts(self, now_s: float) -> dict[str, Any]:
        """Give the fields of a snapshot that are of this stage alone."""
        return {
            "stage": self.name,
            "done": self.done,
            "total": None if self.total is None else max(self.total, self.done),
            "unit": self.unit,
            "is_shared": self.is_shared,
            "patterns_per_s": self.pace.patterns_per_s,
            "note": self.note,
            "values": dict(self.values),
            "stage_s": self._spent_s(now_s),
        }

    def _spent_s(self, now_s: float) -> float:
        if self.seconds is not None:
            return self.seconds
        return 0.0 if self.began_s is None else now_s - self.began_s
