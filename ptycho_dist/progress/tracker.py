"""What a job reports to as it works, and who is told of it.

Reports cost a few assignments: a thread of its own tells listeners twice a second, so that a loop never waits for a
terminal or a disk, and nothing is asked of a device.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

from ptycho_dist.progress.memory import memory_bytes
from ptycho_dist.progress.pace import Share, job_left_s
from ptycho_dist.progress.repeating import repeated
from ptycho_dist.progress.snapshot import RUNNING, Place, PlannedStage, Snapshot
from ptycho_dist.progress.stages import History, Stage

_TICK_S, _LAST_TICK_S = 0.5, 2.0
START = "start"
"""Name of the stage that a job begins with; it ends when the first other one begins."""

Chunk = TypeVar("Chunk", bound=Sized)


class Listener(Protocol):
    """Who is told how far a job is; decides by itself how often that is of use."""

    def tell(self, now: Snapshot) -> None:
        """Take a snapshot: twice a second, at the end of each stage, and at that of the job."""

    def close(self) -> None:
        """Let go of what is held, such as a terminal; nothing is told afterwards."""


class Progress:
    """Takes reports of one rank, and tells its listeners.

    Without listeners, as every part of the program has it that was handed none, reports end here.

    Parameters
    ----------
    command, rank, world
        What runs, as which rank of how many.
    clock
        Seconds that never go back.
    """

    def __init__(
        self, command: str = "", rank: int = 0, world: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.place = Place(command, rank, world, socket.gethostname(), os.getpid())
        self._clock = clock
        self._began_s = self._reported_s = clock()
        self._began_at = datetime.now(UTC)
        self._stages = [Stage(START)]
        self._open = [*self._stages]
        self._open[0].begin(self._began_s)
        self._history: dict[str, History] = {}
        self._listeners: list[Listener] = []
        self._end = (RUNNING, "")
        # Both can be taken twice by a thread, for a signal may raise anywhere in it.
        self._changing, self._telling = threading.RLock(), threading.RLock()

    def __reduce__(self) -> tuple[type[Progress], tuple[str, int, int]]:
        """Make a copy that another process gets anew: nobody listens to it."""
        return Progress, (self.place.command, self.place.rank, self.place.world)

    def listen(self, listener: Listener) -> None:
        """Tell one more listener, from now on."""
        with self._telling:
            self._listeners.append(listener)
        listener.tell(self.snapshot())

    def plan(self, costs: Mapping[str, float]) -> None:
        """Say which stages come, in their order, and what each probably costs in a unit of all; those begun stay."""
        with self._changing:
            known = [one for one in self._stages if one.began_s is not None]
            names = {one.name for one in known}
            for one in known:
                one.weight = costs.get(one.name, one.weight)
            self._stages = [*known, *(Stage(name, cost) for name, cost in costs.items() if name not in names)]

    @contextmanager
    def stage(self, name: str, total: float | None = None, unit: str = "", *, is_shared: bool = True) -> Iterator[None]:
        """Do a stage of the job: the next one of this name in the plan, else one that was not planned.

        Parameters
        ----------
        name
            What it is called.
        total, unit
            How much is to be done, where that is known, and of what (patterns, iterations, steps).
        is_shared
            Whether all ranks together do so much; else it is this rank's own part.
        """
        if self._open and self._open[0].name == START:
            self._close(self._open[0])
        with self._changing:
            one = self._begin(name)
            one.total, one.unit, one.is_shared = total, unit, is_shared
            self._open.append(one)
        try:
            yield
        finally:
            self._close(one)

    def expect(self, total: float | None, unit: str, done: float = 0, *, ago_s: float = 0.0, note: str = "") -> None:
        """Say how much the present stage has to do, and what was done so long ago; the rate counts from then on."""
        with self._changing:
            if self._open:
                self._open[-1].expect(total, unit, done, self._clock() - ago_s)
                self._open[-1].note = note

    def advance(self, done: float, patterns: float | None = None) -> None:
        """Report that so much more of the present stage is done; of patterns as many, where not said."""
        if self._open:
            self.report(self._open[-1].done + done, patterns=done if patterns is None else patterns)

    def report(
        self, done: float | None = None, total: float | None = None, patterns: float = 0, note: str = "",
        values: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        """Report how far the present stage is; numbers must be on the host already.

        Parameters
        ----------
        done, total
            How much of how much; as before where not given.
        patterns
            Patterns that were worked on since the last report.
        note
            Where the stage is, in words; as before where empty.
        values
            Numbers by name, such as the loss.
        """
        with self._changing:
            if not self._open:
                return
            one, self._reported_s = self._open[-1], self._clock()
            one.total = one.total if total is None else total
            one.note = note or one.note
            one.count(one.done if done is None else done, patterns, self._reported_s)
            for name, value in (values or {}).items():
                one.values[name] = value
                self._history.setdefault(name, History()).add(value)

    def counted(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """Pass chunks of patterns on, and report each as done when the next one is asked for."""
        for chunk in chunks:
            yield chunk
            self.advance(len(chunk))

    def end(self, state: str, reason: str = "") -> None:
        """Say how the job has ended; listeners are told, and let go."""
        with self._changing:
            self._end = (state, reason)
        self._tell()
        with self._telling:
            listeners, self._listeners = self._listeners, []
        for one in listeners:
            one.close()

    def snapshot(self, *, ends_stage: bool = False) -> Snapshot:
        """Say how far this rank is."""
        resident, private = memory_bytes()
        with self._changing:
            now_s, one = self._clock(), self._present()
            number = self._stages.index(one) + 1 if one in self._stages else 0
            (state, reason), is_over = self._end, self._end[0] != RUNNING
            return Snapshot(
                place=self.place,
                state=state,
                reason=reason,
                number=number,
                stages=tuple(PlannedStage(some.name, some.seconds) for some in self._stages),
                **one.facts(now_s),
                history={name: tuple(some.points) for name, some in self._history.items()},
                job_s=now_s - self._began_s,
                stage_left_s=None if ends_stage or is_over else one.left_s(now_s),
                job_left_s=None if is_over else job_left_s(self._shares(now_s, number)),
                resident_bytes=resident,
                private_bytes=private,
                started=self._iso(self._began_s),
                reported=self._iso(self._reported_s),
                updated=self._iso(now_s),
                ends_stage=ends_stage,
            )

    @contextmanager
    def told(self) -> Iterator[None]:
        """Tell listeners twice a second, from a thread of its own, until the end of the block."""
        with repeated(self._tell, _TICK_S, _LAST_TICK_S):
            yield

    def _present(self) -> Stage:
        """Find the stage that goes on, else the last one that was begun."""
        begun = [one for one in self._stages if one.began_s is not None]
        return self._open[-1] if self._open else max(begun, key=lambda one: one.began_s or 0.0, default=Stage(""))

    def _shares(self, now_s: float, number: int) -> list[Share]:
        """Stages that count for the end of the job; those that were passed over do not."""
        later = self._stages[max(0, number - 1) :]
        return [one.share(now_s) for one in self._stages if one.began_s is not None or one in later]

    def _iso(self, clock_s: float) -> str:
        at = self._began_at + timedelta(seconds=clock_s - self._began_s)
        return at.astimezone().isoformat(timespec="seconds")

    def _begin(self, name: str) -> Stage:
        found = next((one for one in self._stages if one.name == name and one.began_s is None), None)
        if found is None:
            found = Stage(name)
            begun = [place for place, one in enumerate(self._stages) if one.began_s is not None]
            self._stages.insert(begun[-1] + 1 if begun else 0, found)
        self._reported_s = self._clock()
        found.begin(self._reported_s)
        return found

    def _close(self, one: Stage) -> None:
        with self._changing:
            self._reported_s = self._clock()
            one.end(self._reported_s)
        self._tell(ends_stage=True)
        with self._changing:
            self._open.remove(one)

    def _tell(self, *, ends_stage: bool = False) -> None:
        with self._telling:
            if self._listeners:
                now = self.snapshot(ends_stage=ends_stage)
                for one in self._listeners:
                    one.tell(now)
