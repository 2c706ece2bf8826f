"""Work in a thread of its own, so that this rank can do something else, or give up, meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class BackgroundCall(Generic[T]):
    """A call that runs in a daemon thread.

    Parameters
    ----------
    work
        What to call; its value or error is kept.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._future: Future[T] = Future()
        Thread(target=self._run, args=(work,), daemon=True).start()

    def _run(self, work: Callable[[], T]) -> None:
        try:
            self._future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # result() raises it in the main thread
            self._future.set_exception(error)

    def wait(self, seconds: float) -> None:
        """Wait until the work ends, but no longer than so many seconds."""
        wait([self._future], seconds)

    @property
    def done(self) -> bool:
        """Whether the work has ended, well or not."""
        return self._future.done()

    @property
    def failed(self) -> bool:
        """Whether the work has ended with an error."""
        return self.done and self._future.exception() is not None

    def failure(self) -> str:
        """Give type and message of the error; empty without one."""
        error = self._future.exception() if self.done else None
        return "" if error is None else f"{type(error).__name__}: {error}"

    def result(self) -> T | Any:
        """Give the value or raise the error; None while it runs."""
        return self._future.result() if self.done else None

    def wait_result(self) -> T:
        """Wait until the work ends; give its value or raise its error."""
        return self._future.result()
