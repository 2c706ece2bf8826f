"""A process that does not end in time is ended from outside; one that does is left alone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from ptycho_dist.distributed import agent


@pytest.fixture
def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def test_end_later_kills_a_process_when_its_time_is_up(
    sleeper: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    agent.end_later(sleeper.pid, agent._started(sleeper.pid), 0.3)
    assert sleeper.wait(10) == -signal.SIGKILL
    assert "did not end within" in capsys.readouterr().err


def test_end_later_leaves_another_process_of_the_same_number_alone(sleeper: subprocess.Popen[bytes]) -> None:
    agent.end_later(sleeper.pid, "12345", 0.0)
    assert sleeper.poll() is None
    sleeper.kill()
    sleeper.wait(10)


def test_end_later_returns_as_soon_as_the_process_has_ended(sleeper: subprocess.Popen[bytes]) -> None:
    started = agent._started(sleeper.pid)
    sleeper.kill()
    begun = time.monotonic()
    agent.end_later(sleeper.pid, started, 30.0)
    assert time.monotonic() - begun < 10
    sleeper.wait(10)


@pytest.mark.parametrize(
    "env",
    [{}, {"TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_RESTART_COUNT": "1", "TORCHELASTIC_MAX_RESTARTS": "3"}],
    ids=["another launcher", "a restart is left"],
)
def test_no_watcher_is_left_where_none_is_needed(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        pytest.fail("a watcher was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    agent.end_agent_later(env)


RANK = "from ptycho_dist.distributed.agent import end_agent_later; end_agent_later({'TORCHELASTIC_RUN_ID': 'x'}, 0.3)"
AGENT = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {RANK!r}]); time.sleep(60)"


def test_watcher_ends_the_parent_of_a_rank_under_torchrun() -> None:
    parent = subprocess.Popen([sys.executable, "-c", AGENT])
    assert parent.wait(30) == -signal.SIGKILL
