"""Which of two refinements of one scan need not go on."""

from __future__ import annotations

import math
from collections.abc import Sequence

_LEAST, _WINDOW = 6, 3
"""Iterations before anything is decided, and those that the speed of catching up is measured over."""
_TOLERANCE = 0.005
"""Relative difference of two Fourier errors that does not matter."""


def is_beaten(behind: Sequence[float], ahead: Sequence[float], total: int) -> bool:
    """Tell whether a refinement will not end better than another, by more than half a percent.

    The one ahead after few iterations need not be ahead at the end: a good start is soon as good as it gets, and from
    ones the error falls longer. So the one behind is continued to the last iteration, in logarithms, as fast as it has
    been catching up of late, or falling if that is faster: the other may soon stand still. Since errors fall ever more
    slowly, that is lower than it will end.

    Parameters
    ----------
    behind, ahead
        Fourier error of each iteration so far, of one length; the last one of ``behind`` is not the smaller one.
    total
        Iterations to be done.
    """
    done = len(behind)
    if done < _LEAST:
        return False
    before, now = done - 1 - _WINDOW, done - 1
    gap = math.log(behind[now] / ahead[now])
    catching_up = math.log(behind[before] / ahead[before]) - gap
    falling = math.log(behind[before] / behind[now])
    speed = max(0.0, catching_up, falling) / _WINDOW
    return gap - speed * (total - done) > -_TOLERANCE
