"""Facts are read rightly from recorded /proc, control groups and SLURM, and from this machine."""

from __future__ import annotations

import math
import os
import resource
import time
from pathlib import Path

import pytest

from ptycho_dist.doctor import sources
from ptycho_dist.doctor.collect import Subject, facts_of_all, own_facts
from ptycho_dist.doctor.needs import needs_of
from ptycho_dist.doctor.run import require_healthy
from ptycho_dist.errors import LaunchError
from ptycho_dist.launching.environment import detect
from tests.support.runs import simulate_tiny, training_payload

GIB = 1 << 30


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Record /proc of a host with 64 GiB, 32 GiB available."""
    write(tmp_path / "proc" / "meminfo", f"MemTotal: {64 << 20} kB\nMemAvailable: {32 << 20} kB\nHugePages_Total: 0\n")
    write(tmp_path / "proc" / "self" / "status", "Name: x\nVmRSS:    2048 kB\n")
    return tmp_path / "proc"


def test_memory_of_a_host_without_limits(proc: Path, tmp_path: Path) -> None:
    found = sources.memory(proc, tmp_path / "none")
    assert (found.available_bytes, found.limit_bytes, found.used_bytes) == (32 * GIB, 64 * GIB, 2 << 20)
    assert found.limit_name == "physical memory"


def test_memory_obeys_the_tightest_control_group_above_the_process(proc: Path, tmp_path: Path) -> None:
    write(proc / "self" / "cgroup", "0::/slurm/job_7/step_0\n")
    for name, limit, used in (
        ("slurm", "max", 0),
        ("slurm/job_7", str(8 * GIB), 3 * GIB),
        ("slurm/job_7/step_0", "max", 0),
    ):
        write(tmp_path / "groups" / name / "memory.max", f"{limit}\n")
        write(tmp_path / "groups" / name / "memory.current", f"{used}\n")
    found = sources.memory(proc, tmp_path / "groups")
    assert (found.available_bytes, found.limit_bytes) == (5 * GIB, 8 * GIB)
    assert "job_7" in found.limit_name


def test_memory_obeys_control_groups_of_version_1(proc: Path, tmp_path: Path) -> None:
    write(proc / "self" / "cgroup", "5:cpu,cpuacct:/x\n4:memory:/x\n")
    write(tmp_path / "groups" / "memory" / "memory.limit_in_bytes", f"{2**63 - 4096}\n")
    write(tmp_path / "groups" / "memory" / "x" / "memory.limit_in_bytes", f"{GIB}\n")
    assert sources.memory(proc, tmp_path / "groups").limit_bytes == GIB


def test_memory_obeys_the_resource_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (GIB, GIB))
    found = sources.memory()
    assert (found.limit_bytes, found.limit_name) == (GIB, "RLIMIT_AS (ulimit -v)")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("9:00", 540), ("0:30", 30), ("2:00:01", 7201), ("1-02:03:04", 93784), ("UNLIMITED", math.inf), ("INVALID", None),
     ("", None)],
)  # fmt: skip
def test_duration_of_slurm(text: str, seconds: float | None) -> None:
    assert sources.duration_s(text) == seconds


def test_slurm_tells_job_tasks_and_time_left() -> None:
    env = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_JOB_END_TIME": str(int(time.time()) + 100)}
    found = sources.slurm(env, ask_time=True)
    assert found is not None
    assert (found.job, found.tasks) == ("7", 4)
    assert found.time_left_s == pytest.approx(100, abs=3)
    assert sources.slurm({}, ask_time=True) is None


def test_disk_free_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    free = sources.disk_free(tmp_path / "a" / "b")
    stat = os.statvfs(tmp_path)
    assert free == pytest.approx(stat.f_bavail * stat.f_frsize, rel=0.1)


def test_facts_of_this_machine(tmp_path: Path) -> None:
    facts = own_facts(Subject(context=detect({}), folder=tmp_path), {"GLOO_SOCKET_IFNAME": "lo"}, None)
    assert facts.cores == tuple(sorted(os.sched_getaffinity(0)))
    assert facts.memory.used_bytes > 10 << 20
    assert 0 < facts.memory.available_bytes <= facts.memory.limit_bytes or facts.memory.limit_bytes > 0
    assert (facts.interface, facts.launcher, facts.backend) == ("lo", "plain", "gloo")


def test_examination_leaves_nothing_behind(tmp_path: Path) -> None:
    subject = Subject(context=detect({}), folder=tmp_path / "out")
    assert facts_of_all(subject, {}, lambda value: [value])[0].sees_file is True
    assert list(tmp_path.iterdir()) == []


def test_examination_refuses_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    subject = Subject(context=detect({}), folder=tmp_path / "file" / "out")
    with pytest.raises(LaunchError, match=r"rank 0 cannot write HDF5 to .*file/out and read it \(Not a directory\)"):
        facts_of_all(subject, {}, lambda value: [value])


def test_needs_grow_with_the_batch_and_shrink_with_the_ranks(tiny_path: Path, tmp_path: Path) -> None:
    small = needs_of(training_payload(tiny_path, tmp_path), 1)
    large = needs_of(training_payload(tiny_path, tmp_path, batch_size=4096), 1)
    shared = needs_of(training_payload(tiny_path, tmp_path, batch_size=4096), 4)
    assert small.memory_bytes is not None
    assert large.memory_bytes is not None
    assert shared.memory_bytes is not None
    assert small.memory_bytes < shared.memory_bytes < large.memory_bytes
    assert small.seconds is not None
    assert needs_of(training_payload(tiny_path, tmp_path, max_steps=1), 1).seconds < small.seconds


def test_job_is_refused_before_it_starts_when_it_does_not_fit(tmp_path: Path) -> None:
    scan = simulate_tiny(tmp_path / "s.h5")
    require_healthy(training_payload(scan, tmp_path / "out"), detect({}))
    huge = training_payload(scan, tmp_path / "out", batch_size=2**31)
    with pytest.raises(LaunchError, match=r"memory: 1 ranks on .* need about \d+\.\d GiB each, .* Lower batch_size"):
        require_healthy(huge, detect({}))
