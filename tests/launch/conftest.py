"""Fixtures of the tests with real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import mpi as mpi_support
from tests.support import netns
from tests.support import slurm as slurm_support
from tests.support.runs import simulate_tiny


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a scan of 25 patterns of 32 by 32 pixels."""
    return simulate_tiny(tmp_path_factory.mktemp("scan") / "scan.h5")


@pytest.fixture(scope="session")
def slurm() -> Iterator[slurm_support.SlurmCluster]:
    """Start a real SLURM of two nodes on this host."""
    _require(slurm_support.missing)
    with slurm_support.slurm_cluster() as cluster:
        yield cluster


@pytest.fixture
def two_hosts() -> Iterator[netns.TwoHosts]:
    """Make two hosts (network namespaces) joined by a cable."""
    _require(netns.missing)
    with netns.two_hosts() as pair:
        yield pair


@pytest.fixture(scope="session")
def mpi() -> None:
    """Require mpirun and mpi4py; start ranks with tests.support.mpi."""
    _require(mpi_support.missing)


def _require(missing: Callable[[], str | None]) -> None:
    reason = missing()
    if reason is not None:
        pytest.skip(f"NOT RUN: {reason}")
