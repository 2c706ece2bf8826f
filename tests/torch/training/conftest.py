"""Fixtures of the tests that build a Trainer in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist


@pytest.fixture
def same_process_afterwards() -> Iterator[None]:
    """Undo what a Trainer leaves beside variables: deterministic mode, a process group."""
    yield
    if dist.is_initialized():
        dist.destroy_process_group()
    torch.use_deterministic_algorithms(mode=False)
