"""Ranks find the store of their own launch, pass over those of others, and say what is in the way."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch.distributed import Store, TCPStore

from ptycho_dist.distributed import rendezvous
from ptycho_dist.distributed.rendezvous import meet, meet_through_agent, require_own_gpu
from ptycho_dist.errors import LaunchError
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.launching.network_interfaces import free_port

LIMIT_S = 10.0


@pytest.fixture
def port() -> int:
    return free_port("127.0.0.1")


@pytest.fixture
def holder(port: int) -> Iterator[socket.socket]:
    """Another program that listens on the port, and never says a word."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        yield other


def place(rank: int, port: int, launch_id: str = "a") -> RankContext:
    return RankContext(
        rank=rank, world=2, local_rank=rank, local_world=2, node_rank=0, nodes=1, launcher="slurm", why="test",
        main_address="127.0.0.1", main_port=port, launch_id=launch_id,
    )  # fmt: skip


def meet_both(port: int, launch_id: str = "a") -> tuple[Store, Store]:
    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(meet, place(rank, port, launch_id), LIMIT_S) for rank in (1, 0)]
        return found[0].result(), found[1].result()


def require_joined(stores: tuple[Store, Store], word: str) -> None:
    stores[0].set("key", word)
    assert stores[1].get("key") == word.encode()


def test_ranks_of_one_launch_share_a_store(port: int) -> None:
    require_joined(meet_both(port), "first")


@pytest.mark.parametrize("rank", [0, 1])
def test_port_held_by_another_program_is_an_error(
    port: int, holder: socket.socket, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendezvous, "GLANCE_S", 0.2)
    with pytest.raises(LaunchError, match=rf"rank {rank} of 2 .* 127\.0\.0\.1:{port} .*MASTER_PORT"):
        meet(place(rank, port), 1.0)


def test_port_of_another_launch_is_an_error(port: int) -> None:
    other = meet(place(0, port, "other"), LIMIT_S)
    with pytest.raises(LaunchError, match=r"another launch listens there \(id 'other', expected 'a'\)"):
        meet(place(1, port), 1.0)
    del other


def test_rank_that_is_there_twice_is_an_error(port: int) -> None:
    stores = meet_both(port)
    with pytest.raises(LaunchError, match="rank 1 of 2 is there already"):
        meet(place(1, port), LIMIT_S)
    del stores


def test_ranks_of_torchrun_pass_over_where_rank_0_listened_before_a_restart(port: int) -> None:
    agent = TCPStore("127.0.0.1", port, None, True, wait_for_workers=False)
    agent.set("ptycho_dist/meeting", f"127.0.0.1 {free_port('127.0.0.1')} word-of-before")
    with ThreadPoolExecutor(2) as pool:
        second = pool.submit(meet_through_agent, place(1, port), LIMIT_S)
        first = pool.submit(meet_through_agent, place(0, port), LIMIT_S)
        first.result().set("key", "value")
        assert second.result().get("key") == b"value"


def test_ranks_of_torchrun_say_so_when_rank_0_does_not_come_back(port: int) -> None:
    agent = TCPStore("127.0.0.1", port, None, True, wait_for_workers=False)
    agent.set("ptycho_dist/meeting", f"127.0.0.1 {free_port('127.0.0.1')} word-of-before")
    with pytest.raises(LaunchError, match="rank 1 of 2 did not find the other ranks"):
        meet_through_agent(place(1, port), 1.0)


@pytest.mark.parametrize(("gpus", "refused"), [(("GPU-a", "GPU-b"), False), (("GPU-a", "GPU-a"), True)])
def test_two_ranks_on_one_gpu_are_refused_on_both(port: int, gpus: tuple[str, str], refused: bool) -> None:
    stores = meet_both(port)[::-1]
    limit = timedelta(seconds=LIMIT_S)
    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(require_own_gpu, place(rank, port), stores[rank], gpus[rank], limit) for rank in (0, 1)]
        errors = [one.exception() for one in found]
    assert [isinstance(one, LaunchError) for one in errors] == [refused] * 2
    if refused:
        assert all("both use GPU GPU-a" in str(one) and "--gpus-per-task=1" in str(one) for one in errors)


def test_look_that_was_given_up_and_ends_later_is_no_second_launch(port: int) -> None:
    listening = rendezvous._listen(place(0, port), timedelta(seconds=LIMIT_S))
    looks = [rendezvous._look(place(1, port), "word", LIMIT_S) for _ in range(2)]
    assert [type(one) for one in (listening, *looks)] == [TCPStore] * 3
    with pytest.raises(LaunchError, match="two launches share this port"):
        rendezvous._look(place(1, port), "another word", LIMIT_S)
