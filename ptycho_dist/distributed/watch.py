"""Ranks watch each other through their store: NCCL waits for a rank that is gone without a word, and names none."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import NoReturn

from torch.distributed import DistError, Store  # type: ignore[attr-defined]  # torch names it in another way

from ptycho_dist.distributed.background import BackgroundCall
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.launching.exit_codes import CRASH

logger = logging.getLogger(__name__)

_BEATS = 10
"""Signs of life of a rank within the time limit."""
_LONGEST_BEAT_S = 5.0
_LOST, _LEFT = "lost", "left"


class RankWatch:
    """Signs of life of this rank, and a look at those of the next one; a ring, so its cost does not grow with ranks.

    The first that finds its neighbour silent tells all. Works in a thread of its own, for the main one may be waiting
    for a GPU.

    Parameters
    ----------
    context
        Place of this rank.
    store
        Of this launch; rank 0 holds it, so that a store out of reach means a lost rank 0.
    limit_s
        Longest silence, in seconds.
    end
        Called with what was found, in the watching thread.
    """

    def __init__(self, context: RankContext, store: Store, limit_s: float, end: Callable[[str], None]) -> None:
        self._own, self._next = f"beat/{context.rank}", (context.rank + 1) % context.world
        self._store, self._limit_s, self._end = store, limit_s, end
        self._seen, self._since = b"", time.monotonic()
        self._reached = time.monotonic()
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """End, and tell that this rank leaves on purpose."""
        self._ended.set()
        with suppress(DistError, RuntimeError):
            self._store.set(self._own, _LEFT)

    def _run(self) -> None:
        beat, pause_s = 0, min(_LONGEST_BEAT_S, self._limit_s / _BEATS)
        while not self._ended.wait(pause_s):
            beat += 1
            look = BackgroundCall(partial(self._look, beat))
            look.wait(self._limit_s)
            found = look.result() if look.done else "rank 0"  # its store does not answer
            if found and not self._ended.is_set():
                self._end(found)
                return

    def _look(self, beat: int) -> str:
        """Give a sign of life, and look for others'; say who is lost."""
        try:
            self._store.set(self._own, str(beat))
            if self._store.check([_LOST]):
                return self._store.get(_LOST).decode()
            if self._is_silent():
                self._store.set(_LOST, f"rank {self._next}")
                return f"rank {self._next}"
            self._reached = time.monotonic()
        except (DistError, RuntimeError) as error:
            logger.debug("the store of the ranks is out of reach: %s", error)
            if time.monotonic() - self._reached > self._limit_s:
                return "rank 0"
        return ""

    def _is_silent(self) -> bool:
        """Tell whether the next rank has given no sign of life for too long, and has not left."""
        name = f"beat/{self._next}"
        seen = self._store.get(name) if self._store.check([name]) else b""
        if seen != self._seen or seen == _LEFT.encode():
            self._seen, self._since = seen, time.monotonic()
        return time.monotonic() - self._since > self._limit_s


@contextmanager
def watched(context: RankContext, store: Store, limit_s: float) -> Iterator[None]:
    """Watch the other ranks while the block runs; a lost one ends this process with its number."""

    def end(lost: str) -> NoReturn:
        sys.stderr.write(
            f"ptycho-dist: LaunchError: {lost} has given no sign of life for {limit_s:.0f} s; rank {context.rank} of "
            f"{context.world} ends too. Look whether its process and its host are alive; then start the same command "
            "again: it resumes.\n"
        )
        sys.stderr.flush()
        os._exit(CRASH)

    own: Store = store.clone()  # type: ignore[attr-defined]  # the stubs of torch lack it
    watch = RankWatch(context, own, limit_s, end)
    watch.start()
    try:
        yield
    finally:
        watch.stop()
