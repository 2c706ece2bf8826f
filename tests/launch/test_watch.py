"""Ranks whose backend does not tell that one is gone: they watch each other, and NCCL's words are understood.

A stand-in takes the place of NCCL: it waits for ever, raises what NCCL raises, or aborts as NCCL does.
"""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from ptycho_dist.launching.supervisor import supervise
from tests.support.kill import wait_until
from tests.support.launch import finish, free_port, rank_variables, start

LIMIT_S = 3.0
WAITING = """
import os, sys, time
from pathlib import Path
from ptycho_dist.distributed import collectives
from ptycho_dist.distributed.collectives import barrier, process_group
from ptycho_dist.launching.environment import detect
collectives.is_watched = lambda backend: True
context = detect(os.environ)
with process_group(context, "gloo", 3.0):
    barrier()
    Path(sys.argv[1], f"open-{context.rank}").touch()
    time.sleep(float(sys.argv[2]))
    if len(sys.argv) > 3 and context.rank == 0:
        time.sleep(float(sys.argv[3]))
"""


def ranks(folder: Path, world: int, *seconds: float) -> list[subprocess.Popen[str]]:
    """Start ranks that wait for so many seconds, and wait until their group is open."""
    port = free_port()
    started = [start(["-c", WAITING, folder, *seconds], rank_variables(rank, world, port)) for rank in range(world)]
    wait_until(lambda: len(list(folder.glob("open-*"))) == world, "the group", started[0])
    return started


@pytest.mark.parametrize(
    ("lost", "number"),
    [
        (0, signal.SIGSTOP),
        (2, signal.SIGKILL),
        pytest.param(0, signal.SIGKILL, marks=pytest.mark.exhaustive),
        pytest.param(2, signal.SIGSTOP, marks=pytest.mark.exhaustive),
    ],
)
def test_lost_rank_ends_all_in_time_and_is_named(tmp_path: Path, lost: int, number: signal.Signals) -> None:
    started = ranks(tmp_path, 3, 60.0)
    began = time.monotonic()
    started[lost].send_signal(number)
    others = [finish(one, 30.0) for rank, one in enumerate(started) if rank != lost]
    assert time.monotonic() - began < 4 * LIMIT_S
    started[lost].kill()
    started[lost].communicate()
    for one in others:
        assert one.returncode == 1, one.stderr
        assert f"LaunchError: rank {lost} has given no sign of life for 3 s" in one.stderr


def test_rank_that_leaves_earlier_is_not_lost(tmp_path: Path) -> None:
    for ended in [finish(one, 30.0) for one in ranks(tmp_path, 2, 1.0, 3 * LIMIT_S)]:
        assert ended.returncode == 0, ended.stderr
        assert ended.stderr == ""


WORDS = {
    "silent": "[PG ID 0 PG GUID 0(default_pg) Rank 0] Watchdog caught collective operation timeout: "
    "WorkNCCL(SeqNum=7, OpType=ALLREDUCE, NumelIn=3, NumelOut=3, Timeout(ms)=300000) ran for 300019 milliseconds "
    "before timing out.",
    "lost": "NCCL error in: ProcessGroupNCCL.cpp:2251, remote process exited or there was a network error, NCCL "
    "version 2.27.5\\nncclRemoteError: A call failed possibly due to a network error or a remote process exiting.",
}
"""As torch 2.13 says it for ProcessGroupNCCL."""
RAISING = """
import os
import torch.distributed as dist
from ptycho_dist import cli
def all_reduce(*_, **__):
    raise dist.DistBackendError(os.environ["WORDS"])
dist.all_reduce = all_reduce
cli.program()
"""


@pytest.mark.parametrize(
    ("kind", "told"), [("silent", "timed out waiting for another rank"), ("lost", "lost the conn")]
)
def test_words_of_nccl_are_told_in_one_line(scan: Path, tmp_path: Path, kind: str, told: str) -> None:
    port = free_port()
    words = ["-c", RAISING, "train", scan, "--output_dir", tmp_path, "--accelerator", "cpu"]
    for ended in [
        finish(one, 60.0)
        for one in [start(words, rank_variables(rank, 2, port) | {"WORDS": WORDS[kind]}) for rank in (0, 1)]
    ]:
        assert ended.returncode == 1, ended.stderr
        assert told in ended.stderr
        assert "Traceback" not in ended.stderr


ABORTING = """
import os, pathlib, signal, time
if os.environ["RANK"] == "1":
    pathlib.Path("pid").write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGKILL)
while not pathlib.Path("pid").exists():
    time.sleep(0.01)
os.abort()
"""


def test_rank_that_nccl_aborts_is_not_blamed_for_the_one_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ptycho_dist").mkdir()
    (tmp_path / "ptycho_dist" / "__main__.py").write_text(ABORTING)
    ended = supervise(["train"], 2, grace_s=5.0)
    assert ended.code == 128 + signal.SIGKILL
    assert len(ended.reasons) == 1
    assert "rank 1 (pid" in ended.reasons[0]
