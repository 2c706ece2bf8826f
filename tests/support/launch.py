"""Start the command line as real processes, and read what they leave."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ptycho_dist.launching import network_interfaces

_FOREIGN = ("SLURM_", "OMPI_", "PMI", "MPI_", "PALS_", "HYDI_", "PBS_", "TORCHELASTIC_", "PTYCHO_DIST_", "MASTER_",
            "WORLD_SIZE", "LOCAL_", "GROUP_", "NODE_RANK")  # fmt: skip
DIVERGING = ("--optimizer", "sgd", "--momentum", 0.99, "--learning_rate", 100, "--gradient_clip_val", "null",
             "--scheduler", "Default", "--max_steps", 60)  # fmt: skip
"""Settings of a training whose loss soon is not finite."""


def calm_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables of a child: no GPU, one thread, no launcher."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN) and name != "RANK"}
    calm = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "COLUMNS": "500", "PTYCHO_DIST_CACHE": ""}
    return kept | calm | dict(extra or {})


def start(arguments: Sequence[object], extra: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start ``python ARGUMENTS``; both outputs are kept apart."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=calm_environment(extra),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(arguments: Sequence[object], limit_s: float = 90.0) -> subprocess.CompletedProcess[str]:
    """Run ``python -m ptycho_dist ARGUMENTS`` to its end."""
    return finish(start(["-m", "ptycho_dist", *arguments]), limit_s)


def run_torchrun(arguments: Sequence[object], ranks: int, limit_s: float = 90.0) -> subprocess.CompletedProcess[str]:
    """Run the same under torchrun."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", ranks]
    return finish(start([*launcher, "-m", "ptycho_dist", *arguments]), limit_s)


def finish(process: subprocess.Popen[str], limit_s: float) -> subprocess.CompletedProcess[str]:
    """Wait for a process; one that outlives its limit is killed and fails the test."""
    try:
        out, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        kill_family(process)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def finish_all(processes: Sequence[subprocess.Popen[str]], limit_s: float) -> list[subprocess.CompletedProcess[str]]:
    """Wait for processes that run side by side; when one outlives the limit, all are killed and the test fails."""
    try:
        return [finish(process, limit_s) for process in processes]
    finally:
        for process in processes:
            if process.returncode is None:
                kill_family(process)


def kill_family(process: subprocess.Popen[str]) -> None:
    """Kill a process and all that came from it, which else would hold its outputs open."""
    for pid in descendants(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.kill()
    process.communicate()


def descendants(pid: int) -> list[int]:
    """Return processes that a process has started, and those that these have, if they still run."""
    try:
        found = [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [one for child in found for one in (child, *descendants(child))]


def run_well(arguments: Sequence[object]) -> None:
    """Run a command that must succeed."""
    done = run(arguments)
    assert done.returncode == 0, done.stderr


def rank_variables(rank: int, world: int, port: int) -> dict[str, str]:
    """Give the variables that our supervisor gives to a rank."""
    return {
        "PTYCHO_DIST_LAUNCHER": "spawn",
        "RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(world),
        "NODE_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def free_port() -> int:
    """Find a port that nobody listens on, and that the system gives to nobody by itself."""
    return network_interfaces.free_port("127.0.0.1")


def step_losses(output_dir: Path) -> list[float]:
    """Losses of all steps that a training logged."""
    with (output_dir / "logs" / "metrics.csv").open() as file:
        return [float(row["train_loss_step"]) for row in csv.DictReader(file) if row["train_loss_step"]]
