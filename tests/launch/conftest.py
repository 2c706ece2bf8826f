"""Fixtures of the tests with real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.runs import simulate_tiny


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a scan of 25 patterns of 32 by 32 pixels."""
    return simulate_tiny(tmp_path_factory.mktemp("scan") / "scan.h5")
