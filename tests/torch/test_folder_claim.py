"""One owner of a folder: claims of real processes, taken, refused, taken over, and fought for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ptycho_dist import folder_claim
from ptycho_dist.errors import FolderInUseError
from ptycho_dist.folder_claim import NAME, FolderClaim, Owner, claimed, owner_of, this_process

HOLD = """
import os, sys, time
from dataclasses import replace
from pathlib import Path
from ptycho_dist.errors import FolderInUseError
from ptycho_dist.folder_claim import FolderClaim, this_process
owner = this_process("train", os.environ)
if len(sys.argv) > 2:
    owner = replace(owner, place=sys.argv[2], host="far")
claim = FolderClaim(Path(sys.argv[1]), owner, beat_s=0.1, limit_s=2.0)
sys.stdin.readline()
try:
    claim.take()
except FolderInUseError:
    print("refused", flush=True)
    sys.exit()
print("held", flush=True)
sys.stdin.readline()
claim.release()
"""
"""A process that claims a folder when it is told to, and holds it until it is told to end."""


def holder(folder: Path, *place: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(folder), *place]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@contextmanager
def held(folder: Path, *place: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder."""
    with holder(folder, *place) as process:
        tell(process)
        assert answer(process) == "held"
        yield process
        if process.poll() is None:
            os.kill(process.pid, signal.SIGCONT)
            process.kill()


def claim_of(folder: Path, **changes: object) -> FolderClaim:
    return FolderClaim(folder, replace(this_process("refine", {}), **changes), beat_s=0.1, limit_s=1.0)


def test_claim_names_its_owner_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with claimed(folder, "train"):
        owner = owner_of(folder)
        assert owner is not None
        assert (owner.command, owner.pid) == ("train", os.getpid())
        assert [path.name for path in folder.iterdir()] == [NAME]
    assert owner_of(folder) is None
    assert list(tmp_path.iterdir()) == []


def test_released_folder_keeps_its_results(tmp_path: Path) -> None:
    with claimed(tmp_path / "a", "train"):
        (tmp_path / "a" / "result").write_text("")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["result"]


def test_living_owner_on_this_host_is_named_at_once(tmp_path: Path) -> None:
    with held(tmp_path) as process:
        started = time.monotonic()
        with pytest.raises(
            FolderInUseError, match=rf"in use by 'train' on .* \(pid {process.pid}, since .*--output_dir"
        ):
            claim_of(tmp_path).take()
        assert time.monotonic() - started < 0.5
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_killed_owner_on_this_host_is_followed_at_once(tmp_path: Path) -> None:
    with held(tmp_path) as process:
        process.kill()
        process.wait()
        started = time.monotonic()
        claim = claim_of(tmp_path)
        claim.take()
        assert time.monotonic() - started < 0.5
    owner = owner_of(tmp_path)
    assert owner is not None
    assert owner.command == "refine"
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    claim.release()
    assert list(tmp_path.iterdir()) == []


def test_pid_that_is_used_again_is_not_taken_for_the_owner(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(json.dumps(asdict(replace(this_process("train", {}), started=1))))
    claim_of(tmp_path).take()


def test_owner_on_another_host_is_judged_by_its_signs_of_life(tmp_path: Path) -> None:
    with held(tmp_path, "another boot") as process:
        with pytest.raises(FolderInUseError, match="on far"):
            claim_of(tmp_path).take()
        process.kill()
        process.wait()
        started = time.monotonic()
        claim_of(tmp_path).take()
        assert 0.5 < time.monotonic() - started < 3


def test_old_sign_of_life_of_another_host_is_no_reason_to_wait(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_text(json.dumps(asdict(Owner(token="t", host="far", place="another boot", pid=1))))
    os.utime(path, (time.time() - 100, time.time() - 100))
    started = time.monotonic()
    claim_of(tmp_path).take()
    assert time.monotonic() - started < 0.5


def test_job_that_slurm_queued_again_follows_itself_at_once(tmp_path: Path) -> None:
    before = replace(this_process("train", {"SLURM_JOB_ID": "7"}), place="another boot")
    for env, follows in (({"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"}, True), ({"SLURM_JOB_ID": "7"}, False)):
        (tmp_path / NAME).write_text(json.dumps(asdict(before)))
        claim = FolderClaim(tmp_path, this_process("train", env), limit_s=1.0)
        started = time.monotonic()
        claim.take()
        assert (time.monotonic() - started < 0.4) == follows
        claim.release()


def test_owner_that_was_taken_over_ends_itself(tmp_path: Path) -> None:
    with held(tmp_path, "another boot") as process:
        os.kill(process.pid, signal.SIGSTOP)
        claim = claim_of(tmp_path)
        claim.take()
        os.kill(process.pid, signal.SIGCONT)
        assert process.wait(10) == folder_claim.LOST
        claim.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there_is", ["nothing", "a dead owner", "a dead owner and a dead successor"])
@pytest.mark.parametrize("links", [True, False])
def test_of_many_that_come_at_once_one_wins(tmp_path: Path, there_is: str, links: bool) -> None:
    for round_ in range(3):
        folder = tmp_path / f"{round_}"
        folder.mkdir()
        if there_is != "nothing":
            dead = replace(this_process("train", {}), started=1)
            (folder / NAME).write_text(json.dumps(asdict(dead)))
        if there_is.endswith("successor"):
            next_one = replace(this_process("train", {}), started=1)
            (folder / f".owner-after-{dead.token}.json").write_text(json.dumps(asdict(next_one)))
        answers = compete(folder, 6, links=links)
        assert sorted(answers) == ["held", *["refused"] * 5]
        assert not [path for path in folder.iterdir() if "after" in path.name]


WITHOUT_LINKS = """
import errno, os
def refuse(*_):
    raise OSError(errno.EPERM, "no hard links here")
os.link = refuse
"""


def compete(folder: Path, count: int, *, links: bool) -> list[str]:
    code = HOLD if links else WITHOUT_LINKS + HOLD
    command = [sys.executable, "-c", code, str(folder)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    time.sleep(0.5)
    for one in processes:
        tell(one)
    answers = [answer(one) for one in processes]
    for one in processes:
        one.kill()
        one.communicate()
    return answers


def test_claim_that_cannot_be_understood_is_judged_by_its_age(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("{")
    started = time.monotonic()
    claim_of(tmp_path).take()
    assert time.monotonic() - started > 0.5
