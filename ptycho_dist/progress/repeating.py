"""Do something again and again beside other work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeated(work: Callable[[], None], period_s: float, patience_s: float) -> Iterator[None]:
    """Do some work after each period, in a thread of its own, until the end of the block.

    Parameters
    ----------
    work
        What is done.
    period_s
        Seconds between two times.
    patience_s
        Seconds that the end of the block waits for work that goes on.
    """
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(period_s):
            work()

    thread = threading.Thread(target=repeat, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(patience_s)
