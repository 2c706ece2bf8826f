"""Which of two refinements of one scan need not go on."""

from __future__ import annotations

import math
from collections.abc import Sequence

_LEAST, _WINDOW = 6, 3
"""Iterations before anything is decided, and those that the speed of catching up is measured over."""
_CLOSE, _SAME = 0.02, -0.005
"""Lead, as a logarithm, that decides before the steps have cooled, and after: half a percent is no difference."""
_TINY = 1e-30
_COOLED = 0.5
"""Share of the cooling after which steps are short enough for the order of two refinements to last."""


def is_beaten(behind: Sequence[float], ahead: Sequence[float], total: int, cooling: float) -> bool:
    """Tell whether a refinement will not end better than another, by more than half a percent.

    The one ahead after few iterations need not be ahead at the end: a good start is soon as good as it gets, and from
    ones the error falls longer. So the one behind is continued to the last iteration, in logarithms, as fast as it has
    been catching up of late, or falling if that is faster, for the other may soon stand still. Since errors fall ever
    more slowly, that is lower than it will end. While steps shrink all errors fall together, and only catching up
    counts. What long steps leave of the noise differs by a percent or two and goes as they shrink; until then a lead
    of more than that is asked for.

    Parameters
    ----------
    behind, ahead
        Fourier error of each iteration so far, of one length; the last one of ``behind`` is not the smaller one.
    total
        Iterations to be done.
    cooling
        Share of them, the last ones, over which steps shrink.
    """
    done, shrinking = len(behind), cooling * total
    if done < _LEAST:
        return False
    before, now = done - 1 - _WINDOW, done - 1
    gap = _log(behind[now]) - _log(ahead[now])
    speed = _log(behind[before]) - _log(ahead[before]) - gap
    shrunk = done - (total - shrinking)
    if not shrinking or shrunk <= _WINDOW:
        speed = max(speed, _log(behind[before]) - _log(behind[now]))
    lead = gap - max(0.0, speed) / _WINDOW * (total - done)
    return lead > (_SAME if not shrinking or shrunk >= _COOLED * shrinking else _CLOSE)


def _log(error: float) -> float:
    return math.log(max(error, _TINY))
