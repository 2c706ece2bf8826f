"""Scans that real ranks write together, under each launcher of this host."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptycho_dist.data.scan import open_scan
from tests.support.launch import run, run_torchrun, run_well
from tests.support.mpi import missing, mpirun
from tests.support.scans import make_scan, write_own
from tests.support.slurm import SlurmCluster

Launch = Callable[[Sequence[object]], subprocess.CompletedProcess[str]]
SIMULATE = ["--n_patterns", 40, "--N", 32, "--defocus_m", 2e-5]


def by_spawn(arguments: Sequence[object]) -> subprocess.CompletedProcess[str]:
    return run([*arguments, "--devices", 2])


def by_torchrun(arguments: Sequence[object]) -> subprocess.CompletedProcess[str]:
    return run_torchrun(arguments, 2)


def by_mpirun(arguments: Sequence[object]) -> subprocess.CompletedProcess[str]:
    return mpirun(2, [sys.executable, "-m", "ptycho_dist", *arguments])


needs_mpi = [pytest.mark.mpi, pytest.mark.skipif(missing() is not None, reason=f"NOT RUN: {missing()}")]
LAUNCHES = [
    by_spawn,
    pytest.param(by_torchrun, marks=pytest.mark.exhaustive),
    pytest.param(by_mpirun, marks=needs_mpi),
]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulate with one rank."""
    path = tmp_path_factory.mktemp("alone") / "s.h5"
    run_well(["simulate", path, *SIMULATE])
    return path


def require_same(found: Path, expected: Path) -> None:
    rows = np.arange(40)
    with open_scan(found) as one, open_scan(expected) as other:
        np.testing.assert_array_equal(one.read_patterns(rows), other.read_patterns(rows))
        assert one.positions_px.tobytes() == other.positions_px.tobytes()
        assert one.header.mean_counts == other.header.mean_counts


@pytest.mark.parametrize("launch", LAUNCHES)
def test_ranks_simulate_and_convert_what_one_rank_does(alone: Path, tmp_path: Path, launch: Launch) -> None:
    done = launch(["simulate", tmp_path / "s.h5", *SIMULATE])
    assert (done.returncode, done.stdout.count("s.h5\n")) == (0, 1), done.stderr
    require_same(tmp_path / "s.h5", alone)
    done = launch(["convert", tmp_path / "s.h5", tmp_path / "c.h5"])
    assert done.returncode == 0, done.stderr
    require_same(tmp_path / "c.h5", alone)
    joined = h5py.get_config().mpi and launch is by_mpirun
    assert len(list(tmp_path.glob("c.h5.parts-*/rows-0000[01]-of-00002.h5"))) == (0 if joined else 2)


@pytest.mark.slurm
@pytest.mark.exhaustive
def test_ranks_of_srun_convert_what_one_rank_does(slurm: SlurmCluster, alone: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ptycho_dist", "convert", alone, tmp_path / "c.h5"]
    done = slurm.srun("--nodes=2", "--ntasks=2", "--ntasks-per-node=1", *command)
    assert done.returncode == 0, done.stderr
    require_same(tmp_path / "c.h5", alone)
    assert len(list(tmp_path.glob("c.h5.parts-*/rows-*-of-00002.h5"))) == 2


@pytest.mark.parametrize("launch", LAUNCHES)
def test_old_scan_stays_and_all_ranks_end_when_one_fails(tmp_path: Path, launch: Launch) -> None:
    target = write_own(tmp_path / "c.h5", make_scan())
    before = target.read_bytes()
    source = write_own(tmp_path / "s.h5", make_scan(), mask=None)
    with h5py.File(source, "r+") as file:
        counts = file["patterns"][()].astype(np.float32)
        counts[8, 2, 3] = np.nan
        del file["patterns"]
        file["patterns"] = counts
    done = launch(["convert", source, target, "--overwrite"])
    assert done.returncode == (1 if launch is by_torchrun else 2), done.stderr
    assert "pattern 8 in" in done.stderr
    assert "holds nan at pixel (2, 3)" in done.stderr
    assert target.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [target, source]


@pytest.mark.mpi
@pytest.mark.skipif(missing() is not None, reason=f"NOT RUN: {missing()}")
@pytest.mark.skipif(not h5py.get_config().mpi, reason="NOT RUN: this h5py was built without MPI (parallel HDF5)")
def test_ranks_of_mpirun_write_one_plain_file_with_parallel_hdf5(alone: Path, tmp_path: Path) -> None:
    done = by_mpirun(["simulate", tmp_path / "s.h5", *SIMULATE])
    assert done.returncode == 0, done.stderr
    require_same(tmp_path / "s.h5", alone)
    assert list(tmp_path.iterdir()) == [tmp_path / "s.h5"]
