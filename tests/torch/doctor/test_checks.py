"""Each check: what passes, what fails, and that a failure names numbers and fix. Facts are made up here."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from ptycho_dist.doctor.checks import CHECKS, check_all
from ptycho_dist.doctor.facts import Memory, Needs, RankFacts, SlurmFacts
from ptycho_dist.doctor.outcome import FAIL, OK, SKIP, WARN, Result
from ptycho_dist.doctor.run import require_no_failure
from ptycho_dist.errors import LaunchError
from ptycho_dist.launching.network_interfaces import Interface

GIB = 1 << 30
LO, ETH = Interface("lo", "127.0.0.1", "255.0.0.0"), Interface("eth0", "10.0.0.1", "255.255.255.0")
NEEDS = Needs(devices=2, accelerator="cpu", batch_size=8, memory_bytes=GIB, disk_bytes=GIB,
              seconds=100.0)  # fmt: skip
ONE = RankFacts(
    rank=0, world=4, local_world=2, node_rank=0, nodes=2, launcher="slurm", why="SLURM_PROCID=0", host="n0",
    version="0.1", torch_version="2.13", cores=(0, 1, 2, 3), threads=2, gpus=0, backend="gloo", interfaces=(LO, ETH),
    interface="", host_address="10.0.0.1", mpi="", disk_free_bytes=10 * GIB, folder="/out", sees_file=True,
    memory=Memory(available_bytes=8 * GIB, limit_bytes=4 * GIB, limit_name="physical memory", used_bytes=GIB // 4),
    fingerprint="f" * 64, slurm=SlurmFacts(job="7", tasks=4, time_left_s=1000.0),
)  # fmt: skip


def ranks(changes: dict[int, dict[str, Any]] | None = None, **of_all: Any) -> list[RankFacts]:
    """Four ranks on two hosts; changed on all, or on some by number."""
    made = [
        replace(ONE, **({"rank": rank, "node_rank": rank // 2, "host": f"n{rank // 2}"} | of_all)) for rank in range(4)
    ]
    return [replace(one, **(changes or {}).get(one.rank, {})) for one in made]


def result(name: str, facts: list[RankFacts], **needs: Any) -> Result:
    return next(one for one in check_all(facts, replace(NEEDS, **needs)) if one.name == name)


def test_healthy_launch_passes_every_check() -> None:
    results = check_all(ranks(), NEEDS)
    assert len(results) == len(CHECKS) == len({one.name for one in results})
    assert {one.status for one in results if one.name != "MPI library"} == {OK}
    require_no_failure(results)


small = Memory(available_bytes=GIB, limit_bytes=4 * GIB, limit_name="control group x", used_bytes=0)
tight = Memory(available_bytes=8 * GIB, limit_bytes=GIB // 2, limit_name="RLIMIT_AS (ulimit -v)", used_bytes=0)
GPU = {"accelerator": "cuda"}
OWN = {rank: {"gpu": f"GPU-{rank}"} for rank in range(4)}


@pytest.mark.parametrize(
    ("name", "facts", "needs", "numbers", "fix"),
    [
        ("ranks", ranks()[:3], {}, "ranks [3] of 4 are missing", "Start all ranks"),
        ("ranks", ranks({3: {"host": "n0"}}), {}, "n0 3, n1 1", "--ntasks-per-node"),
        ("devices", ranks(), {"devices": 3}, "2 ranks on each node, 0 GPUs visible, accelerator cpu, but "
         "execution.devices = 3", "Start 3 ranks per node, or set execution.devices = 2"),
        ("devices", ranks({1: {"gpu": ""}, 3: {"gpu": ""}}, gpus=1, gpu="a"), GPU, "rank 1 on n0 would have none",
         "--gpus-per-task=1"),
        ("devices", ranks(OWN | {2: {"gpu": "GPU-0"}}, gpus=1), GPU, "ranks 0 and 2 use the same one (GPU-0)",
         "--gpus-per-task=1"),
        ("open files", ranks({1: {"open_files": 67}}), {}, "rank 1 on n0: 67 may be open, 68 are needed (4 ranks and "
         "64)", "ulimit -Hn"),
        ("backend", ranks({2: {"backend": "nccl"}}), {}, "gloo and nccl", "same accelerator"),
        ("network interface", ranks({1: {"interface": "ib9"}}), {}, "rank 1 on n0 is told to use 'ib9'", "eth0 10."),
        ("network interface", ranks(host_address="127.0.1.1"), {}, "resolves to 127.0.1.1", "PTYCHO_DIST_INTERFACE"),
        ("network interface", ranks({2: {"host_address": ""}}), {}, "n1: its own name does not resolve", "eth0 10."),
        ("shared files", ranks({2: {"sees_file": False}}), {}, "to /out is not seen by rank 2 (n1)", "output_dir"),
        ("disk", ranks(), {"disk_bytes": 20 * GIB}, "10.0 GiB free in /out, about 20.0 GiB needed", "Free space"),
        ("memory", ranks(memory=small), {}, "2 ranks on n0 need about 1.0 GiB each, 1.0 GiB are", "batch_size"),
        ("memory", ranks({3: {"memory": tight}}), {}, "rank 3 needs about 1.0 GiB, its limit is 512 MiB", "Lower"),
        ("settings", ranks({1: {"fingerprint": "0" * 64}}), {}, "on ranks 0, 2, 3 but '000000000000' on rank 1",
         "same arguments"),
        ("settings", ranks({1: {"problem": "seed = -1"}}), {}, "rank 1: seed = -1", "Change"),
        ("versions", ranks({3: {"version": "0.2"}}), {}, "'0.1' on ranks 0, 1, 2 but '0.2' on rank 3", "environment"),
    ],
)  # fmt: skip
def test_check_fails_with_numbers_and_fix(
    name: str, facts: list[RankFacts], needs: dict[str, Any], numbers: str, fix: str
) -> None:
    found = result(name, facts, **needs)
    assert found.status == FAIL
    assert numbers in found.found
    assert fix in found.fix
    with pytest.raises(LaunchError) as error:
        require_no_failure((found,))
    assert numbers in str(error.value)
    assert fix in str(error.value)


PLAIN = {"launcher": "plain", "world": 1, "local_world": 1, "nodes": 1}


@pytest.mark.parametrize(
    ("name", "facts", "needs", "numbers", "fix"),
    [
        ("launcher", [replace(ONE, **PLAIN)], {}, "inside SLURM job 7 with 4 tasks", "srun"),
        ("devices", ranks(gpus=4), {}, "4 GPUs visible, accelerator cpu: the GPUs stay idle", "accelerator"),
        ("devices", ranks({1: {"unused": "an Intel XPU"}}), {}, "while n0 has an Intel XPU", "Install"),
        (
            "batch",
            ranks(),
            {"batch_size": 1},
            "batch_size = 1 for 4 ranks: 3 of them idle",
            "batch_size = 4 or more, or start 1 rank.",
        ),
        (
            "owner",
            ranks(owner="'train' on n9 (pid 7)"),
            {},
            "/out is held by 'train' on n9 (pid 7)",
            "another output_dir",
        ),
        ("threads", ranks(threads=4), {}, "2 ranks on n0 use 8 threads on 4 cores", "OMP_NUM_THREADS=2"),
        ("threads", ranks(threads=1, cores=(0,)), {}, "2 ranks on n0 use 2 threads on 1 cores", "at most 1 of them"),
        ("MPI library", ranks(launcher="mpi"), {}, "missing on 4 of 4 ranks", "ptycho-dist[mpi]"),
        ("time limit", ranks(), {"seconds": 5000.0}, "1000 s left in SLURM job 7, very roughly 5000 s", "--requeue"),
    ],
)
def test_check_warns_with_numbers_and_fix(
    name: str, facts: list[RankFacts], needs: dict[str, Any], numbers: str, fix: str
) -> None:
    found = result(name, facts, **needs)
    assert found.status == WARN
    assert numbers in found.found
    assert fix in found.fix
    require_no_failure((found,))


@pytest.mark.parametrize(
    ("name", "facts", "needs", "status"),
    [
        ("devices", ranks(), {"devices": None}, OK),
        ("devices", ranks(OWN, gpus=2), GPU, OK),
        ("devices", ranks(OWN, gpus=1), GPU, OK),
        ("threads", ranks({1: {"cores": (4, 5)}, 3: {"cores": (4, 5)}}, cores=(0, 1)), {}, OK),
        ("network interface", ranks(interface="eth0", host_address=""), {}, OK),
        ("network interface", ranks(host="n0", host_address=""), {}, OK),
        ("MPI library", ranks(launcher="mpi", mpi="MPICH 5"), {}, OK),
        ("shared files", ranks(sees_file=None), {}, SKIP),
        ("batch", ranks(), {"batch_size": 4}, OK),
        ("batch", ranks(), {"batch_size": None}, SKIP),
        ("disk", ranks(disk_free_bytes=None), {}, SKIP),
        ("memory", ranks(), {"memory_bytes": None}, SKIP),
        ("settings", ranks(fingerprint=""), {}, SKIP),
        ("time limit", ranks(slurm=None), {}, SKIP),
        ("time limit", ranks(slurm=SlurmFacts(job="7", tasks=4, time_left_s=math.inf)), {}, OK),
        ("time limit", ranks(), {"seconds": None}, SKIP),
    ],
)
def test_check_passes_or_skips(name: str, facts: list[RankFacts], needs: dict[str, Any], status: str) -> None:
    assert result(name, facts, **needs).status == status
