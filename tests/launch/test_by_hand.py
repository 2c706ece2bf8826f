"""Ranks of a launcher that is not recognised: refused, and placed by the variables that the refusal names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support import netns
from tests.support.launch import finish, free_port, start, step_losses

Words = list[object]


def train(scan: Path, output_dir: Path) -> Words:
    return ["-m", "ptycho_dist", "train", scan, "--output_dir", output_dir, "--accelerator", "cpu", "--width", 8,
            "--depth", 1, "--group_size", 4, "--batch_size", 2, "--max_steps", 3]  # fmt: skip


def flux(rank: int) -> dict[str, str]:
    """Variables of a task of flux run -n 2."""
    return {"FLUX_TASK_RANK": str(rank), "FLUX_JOB_SIZE": "2", "FLUX_TASK_LOCAL_ID": str(rank), "FLUX_JOB_ID": "f1"}


def by_hand(rank: int, address: str, port: int, per_node: int = 2) -> dict[str, str]:
    return {"PTYCHO_DIST_LAUNCHER": "torchrun", "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK":
            str(rank % per_node), "LOCAL_WORLD_SIZE": str(per_node), "MASTER_ADDR": address,
            "MASTER_PORT": str(port)}  # fmt: skip


def test_ranks_that_are_not_recognised_do_not_start_alone(scan: Path, tmp_path: Path) -> None:
    ended = [finish(one, 60.0) for one in [start(train(scan, tmp_path / "out"), flux(rank)) for rank in (0, 1)]]
    assert [one.returncode for one in ended] == [2, 2]
    assert all("flux run has started this process" in one.stderr for one in ended)
    assert not (tmp_path / "out").exists()


def test_ranks_are_placed_by_the_variables_that_the_refusal_names(scan: Path, tmp_path: Path) -> None:
    port = free_port()
    placed = [flux(rank) | by_hand(rank, "127.0.0.1", port) for rank in (0, 1)]
    for ended in [finish(one, 90.0) for one in [start(train(scan, tmp_path), env) for env in placed]]:
        assert ended.returncode == 0, ended.stderr
    assert len(step_losses(tmp_path)) == 3


@pytest.mark.netns
def test_two_hosts_with_ipv6_alone_train_together(scan: Path, tmp_path: Path) -> None:
    if netns.missing() is not None:
        pytest.skip(f"NOT RUN: {netns.missing()}")
    with netns.two_hosts(netns.IPV6_ADDRESSES) as hosts:
        port, words = free_port(), [sys.executable, *train(scan, tmp_path)]
        places = [
            by_hand(rank, netns.IPV6_ADDRESSES[0], port, per_node=1) | {"NODE_RANK": str(rank)} for rank in (0, 1)
        ]
        for ended in [finish(one, 90.0) for one in [hosts.start(rank, words, places[rank]) for rank in (0, 1)]]:
            assert ended.returncode == 0, ended.stderr
    assert len(step_losses(tmp_path)) == 3
