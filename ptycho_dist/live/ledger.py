"""Which frames came, and which of them have their position: each is given out once."""

from __future__ import annotations

from collections import deque

import numpy as np

from ptycho_dist.live.arrivals import Tally, gaps
from ptycho_dist.live.stream_messages import Image, PositionsOf
from ptycho_dist.types import FloatArray, IntArray


class Ledger:
    """Frames by the row in which they are kept, and positions by the number of their frame."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._row: dict[int, int] = {}
        self._position: dict[int, tuple[float, float]] = {}
        self._ready: deque[int] = deque()
        self._duplicates = self._out_of_order = self._with_both = 0
        self._last = -1

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def n_ready(self) -> int:
        """Frames that have their position and were not given out."""
        return len(self._ready)

    @property
    def n_waiting(self) -> int:
        """Frames without a position."""
        return len(self.numbers) - self._with_both

    def take(self, images: list[Image]) -> list[Image]:
        """Note frames, and return those that did not come before."""
        new: list[Image] = []
        for image in images:
            number = image.frame
            if number in self._row:
                self._duplicates += 1
                continue
            self._out_of_order += number < self._last
            self._last = max(self._last, number)
            self._row[number] = len(self.numbers)
            self.numbers.append(number)
            new.append(image)
            self._join(number)
        return new

    def place(self, found: PositionsOf) -> None:
        """Note positions; the first that is told of a frame counts."""
        for frame, (y, x) in zip(found.frames, found.values.tolist(), strict=True):
            if frame not in self._position:
                self._position[frame] = (y, x)
                self._join(frame)

    def next_ready(self, most: int) -> IntArray:
        """Give out rows of frames that have their position, at most so many."""
        count = min(most, len(self._ready))
        return np.array([self._row[self._ready.popleft()] for _ in range(count)], np.int64)

    def in_order(self) -> IntArray:
        """Rows of all frames that have their position, in the order of their numbers."""
        return np.array([self._row[one] for one in sorted(self._row) if one in self._position], np.int64)

    def positions_of(self, rows: IntArray) -> FloatArray:
        """Positions (n, 2) of the frames in some rows."""
        found = [self._position[self.numbers[row]] for row in rows.tolist()]
        return np.array(found, np.float64).reshape(-1, 2)

    def missing(self, announced: int) -> tuple[int, ...]:
        """Return numbers of frames that did not come, of so many that were announced."""
        return gaps(self.numbers, announced)

    def tally(self) -> Tally:
        """Count what has come."""
        return Tally(
            received=len(self.numbers),
            waiting=self.n_waiting,
            duplicates=self._duplicates,
            out_of_order=self._out_of_order,
            n_missing=self._last + 1 - len(self.numbers),
        )

    def _join(self, number: int) -> None:
        if number in self._row and number in self._position:
            self._with_both += 1
            self._ready.append(number)
