"""Signals that ask to stop are raised at once, or noted while a step is under way."""

from __future__ import annotations

import signal

import pytest

from ptycho_dist.launching.signals import STOP_SIGNALS, StopRequested, StopSignals


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_stop_signals_are_raised_at_once(number: signal.Signals) -> None:
    with StopSignals(), pytest.raises(StopRequested, match=number.name):
        signal.raise_signal(number)


def test_deferred_signal_is_raised_by_check() -> None:
    with StopSignals() as stop:
        with stop.deferred():
            stop.check()
            signal.raise_signal(signal.SIGUSR1)
            with pytest.raises(StopRequested, match="SIGUSR1"):
                stop.check()
        assert stop.received == signal.SIGUSR1


def test_handlers_of_before_are_put_back() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with StopSignals() as stop:
        assert [signal.getsignal(number) for number in STOP_SIGNALS] != before
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stop.install()
        with pytest.raises(StopRequested):
            signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_stop_requested_is_no_error_that_a_handler_swallows() -> None:
    assert not issubclass(StopRequested, Exception)
