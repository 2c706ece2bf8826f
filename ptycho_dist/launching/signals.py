"""Stop on SIGTERM or SIGUSR1 at a place where nothing is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

EXIT_RESUMABLE = 75
"""Exit code of a run that was told to stop and can be resumed (EX_TEMPFAIL of sysexits.h)."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What batch systems send before they take a node away."""


class StopRequested(BaseException):
    """A signal told this process to stop; what is finished is saved.

    Parameters
    ----------
    number
        The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class StopSignals:
    """Turns SIGTERM and SIGUSR1 into :class:`StopRequested`; a context manager.

    It is raised at once, or, inside :meth:`deferred`, when :meth:`check` is called. Outside the main thread Python
    admits no handlers; there signals do what they did before.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._is_deferred = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._previous = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        self.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._previous.items():
                signal.signal(number, handler)

    def install(self) -> None:
        """Put the handlers in place, also after others (Lightning's) took theirs."""
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                signal.signal(number, self._receive)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Only note a signal; :meth:`check` raises it later."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    def check(self) -> None:
        """Raise what was noted.

        Raises
        ------
        StopRequested
            If a signal came.
        """
        if self.received is not None:
            raise StopRequested(self.received)

    def stop(self) -> NoReturn:
        """Stop because some rank was told to.

        Raises
        ------
        StopRequested
            Always; with this rank's own signal, where it got one.
        """
        self.check()
        raise StopRequested(signal.SIGTERM)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self.received = number
        if not self._is_deferred:
            raise StopRequested(number)
