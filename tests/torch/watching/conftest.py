"""A job's folder, written by what real jobs write it with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from ptycho_dist.launching.rank_logging import JsonLines
from ptycho_dist.progress.state_file import StateFile
from ptycho_dist.progress.tracker import Progress

Ranks = Callable[..., list[Progress]]


@pytest.fixture
def ranks(tmp_path: Path) -> Ranks:
    """Make ranks of a refinement in ``tmp_path``, each further than the one before; they have written."""

    def make(world: int, *, total: int = 100) -> list[Progress]:
        made = [Progress("refine", rank, world) for rank in range(world)]
        for rank, progress in enumerate(made):
            progress.plan({"refinement": 40, "evaluation": 2})
            stage = progress.stage("refinement")
            stage.__enter__()
            progress.expect(total, "iterations", ago_s=10.0)
            for step in range(1, 10 + rank):
                progress.report(step, patterns=25, values={"Fourier error": 1 / step})
            progress.listen(StateFile(tmp_path, rank, world))
        return made

    return make


@pytest.fixture
def say(tmp_path: Path) -> Callable[[int, int, str], None]:
    """Log a message as a rank does."""

    def log(rank: int, level: int, text: str) -> None:
        handler = JsonLines(tmp_path / "logs" / f"rank-{rank:05d}.jsonl", rank)
        handler.handle(logging.LogRecord("ptycho_dist.x", level, __file__, 1, "%s", (text,), None))

    return log
