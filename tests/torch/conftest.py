"""Fixtures of the in-process tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptycho_dist.data.scan import Scan, open_scan
from tests.support.runs import forget_launchers, simulate_tiny


@pytest.fixture(autouse=True)
def _one_plain_rank(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make each test one plain rank, whatever variables a launcher, or a Trainer of an earlier test, has left."""
    forget_launchers(monkeypatch)
    before = set(os.environ)
    yield
    for name in set(os.environ) - before:
        del os.environ[name]


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo what a command that a test has called in this process made of the package's log."""
    package = logging.getLogger("ptycho_dist")
    before = list(package.handlers), package.propagate, package.level
    yield
    package.handlers, package.propagate = before[:2]
    package.setLevel(before[2])


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a scan of 25 patterns of 32 by 32 pixels; not to be changed."""
    return simulate_tiny(tmp_path_factory.mktemp("tiny") / "tiny.h5")


@pytest.fixture
def tiny_scan(tiny_path: Path) -> Iterator[Scan]:
    """Open the tiny scan."""
    with open_scan(tiny_path) as scan:
        yield scan
