"""What ranks do with each other, as far as one process can tell."""

from __future__ import annotations

import time

import pytest
import torch.distributed as dist

from ptycho_dist.distributed import collectives
from ptycho_dist.distributed.background import BackgroundCall
from ptycho_dist.errors import LaunchError
from ptycho_dist.launching.environment import detect


def test_connecting_ends_in_time_when_torch_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collectives, "MARGIN_S", 0.1)
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: time.sleep(20))
    ranks = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "GROUP_WORLD_SIZE": "1"}
    place = detect(ranks | address | {"TORCHELASTIC_RUN_ID": "x", "PTYCHO_DIST_LAUNCHER": "torchrun"})
    started = time.monotonic()
    with pytest.raises(LaunchError, match="were not made within 0 s"), collectives.process_group(place, "gloo", 0.1):
        pytest.fail("the group is open")
    assert time.monotonic() - started < 15


def test_one_rank_alone_does_its_own_work() -> None:
    assert collectives.on_all_ranks(lambda: 3) == 3
    assert collectives.from_rank_0(lambda: "made") == "made"
    with pytest.raises(ZeroDivisionError):
        collectives.on_all_ranks(lambda: 1 // 0)


def test_work_keeps_value_or_error() -> None:
    good, bad = BackgroundCall(lambda: 5), BackgroundCall(lambda: 1 // 0)
    good.wait(10.0)
    bad.wait(10.0)
    assert (good.done, good.failed, good.failure(), good.result()) == (True, False, "", 5)
    assert (bad.done, bad.failed) == (True, True)
    assert bad.failure().startswith("ZeroDivisionError: ")
    with pytest.raises(ZeroDivisionError):
        bad.result()


def test_work_that_resumes_has_no_result_yet() -> None:
    slow = BackgroundCall(lambda: time.sleep(5))
    slow.wait(0.05)
    assert (slow.done, slow.failed, slow.failure(), slow.result()) == (False, False, "", None)
