"""The supervisor starts ranks, names the one that failed, and ends the others."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ptycho_dist.launching import supervisor
from tests.support.kill import wait_until

PROGRAM = """
import os, pathlib, signal, sys, time
rank = int(os.environ["RANK"])

def say(text):
    sys.stderr.write(text + "\\n")

def wait_for_end_of_rank_1():
    name = pathlib.Path("pid")
    while not name.exists() or not name.read_text():
        time.sleep(0.01)
    stat = pathlib.Path("/proc") / name.read_text() / "stat"
    while stat.exists() and " Z " not in stat.read_text():
        time.sleep(0.001)

def wait_for_a_signal():
    pathlib.Path(f"ready-{rank}").touch()
    time.sleep(60)

if rank == 1:
    pathlib.Path("pid").write_text(str(os.getpid()))
"""
Ranks = Callable[[str], int]


@pytest.fixture
def ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ranks:
    """Run two ranks of a small program that stands in the place of ours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(supervisor, "KILL_AFTER_S", 0.3)
    (tmp_path / "ptycho_dist").mkdir()

    def run(program: str) -> int:
        (tmp_path / "ptycho_dist" / "__main__.py").write_text(PROGRAM + program)
        return supervisor.run_ranks(["train"], 2, grace_s=0.5)

    return run


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    log = logging.getLogger("ptycho_dist.launching.supervisor")
    log.addHandler(caplog.handler)
    yield caplog
    log.removeHandler(caplog.handler)


def test_run_ranks_gives_each_rank_its_place_and_succeeds(ranks: Ranks, tmp_path: Path) -> None:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "PTYCHO_DIST_LAUNCHER")
    program = f"pathlib.Path(f'seen-{{rank}}').write_text(' '.join(os.environ[name] for name in {names!r}))"
    assert ranks(program) == 0
    assert (tmp_path / "seen-0").read_text() == "0 2 0 2 0 spawn"
    assert (tmp_path / "seen-1").read_text() == "1 2 1 2 0 spawn"


def test_run_ranks_names_the_killed_rank_when_rank_0_falls_at_once(
    ranks: Ranks, said: pytest.LogCaptureFixture
) -> None:
    program = """
if rank == 1:
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)
wait_for_end_of_rank_1()
os._exit(1)
"""
    assert ranks(program) == 128 + 9
    assert "was killed by SIGKILL" in said.text
    assert "rank 1" in said.text


def test_run_ranks_shows_what_the_failed_rank_said_when_rank_0_falls_with_the_same_code(
    ranks: Ranks, said: pytest.LogCaptureFixture
) -> None:
    program = """
if rank == 1:
    say("ValueError: the true cause")
    os._exit(1)
wait_for_end_of_rank_1()
os._exit(1)
"""
    assert ranks(program) == 1
    assert "rank 1 failed with exit code 1" in said.text
    assert "the true cause" in said.text


def test_run_ranks_leaves_a_user_error_of_all_ranks_to_rank_0(ranks: Ranks, said: pytest.LogCaptureFixture) -> None:
    assert ranks("say('ptycho-dist: ConfigError: x'); sys.exit(2)") == 2
    assert said.text == ""


def test_run_ranks_ends_a_rank_that_waits_and_one_that_refuses(ranks: Ranks, said: pytest.LogCaptureFixture) -> None:
    program = """
if rank == 1:
    time.sleep(0.2)
    say("DataFormatError: pattern 7 is NaN")
    sys.exit(2)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(60)
"""
    started = time.monotonic()
    assert ranks(program) == 2
    assert time.monotonic() - started < 50
    assert "pattern 7 is NaN" in said.text
    assert "killed" not in said.text


@contextmanager
def signalled(number: signal.Signals) -> Iterator[None]:
    """Send this process a signal once both ranks wait for it."""

    def send() -> None:
        wait_until(lambda: all(Path(f"ready-{rank}").exists() for rank in (0, 1)), "two ranks that wait")
        os.kill(os.getpid(), number)

    sender, started = threading.Thread(target=send), time.monotonic()
    sender.start()
    yield
    sender.join()
    assert time.monotonic() - started < 50, "the ranks were not ended by the signal"


def test_run_ranks_passes_a_signal_on_and_blames_nobody(ranks: Ranks, said: pytest.LogCaptureFixture) -> None:
    with signalled(signal.SIGTERM):
        assert ranks("wait_for_a_signal()") == 128 + signal.SIGTERM
    assert "stopped by SIGTERM" in said.text
    assert "rank 1" not in said.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_run_ranks_ends_ranks_that_ignore_the_signal(ranks: Ranks, number: signal.Signals) -> None:
    program = "[signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)]\n"
    with signalled(number):
        assert ranks(f"{program}wait_for_a_signal()") == 128 + number


def test_run_ranks_tells_a_stop_even_when_ranks_end_well_on_it(ranks: Ranks) -> None:
    program = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
    with signalled(signal.SIGTERM):
        assert ranks(f"{program}wait_for_a_signal()") == 128 + signal.SIGTERM
