"""The command that examines a launch.

Heavy packages are imported inside the functions, so that help answers at once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ptycho_dist.commands.path_checks import require_output_folder
from ptycho_dist.commands.registry import OUTPUT, SCAN_HELP, Command, Typed, register_command
from ptycho_dist.commands.startup import configure_logging, make_request, on_ranks, own_section, ranks_of
from ptycho_dist.config.command_settings import DoctorConfig
from ptycho_dist.config.execution import INFER, TRAIN
from ptycho_dist.config.sections import TRAINING_SECTIONS
from ptycho_dist.errors import ConfigError
from ptycho_dist.launching.environment import LAUNCHER_VARIABLE, RankContext, launcher_name
from ptycho_dist.launching.exit_codes import USER_ERROR

if TYPE_CHECKING:
    from ptycho_dist.doctor.run import Diagnosis

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "dim"}

COMMAND = Command(
    name="doctor",
    summary="examine a launch: ranks, devices, network, files, memory",
    description="Examine this launch and say what to change; with a scan, also whether a training fits.",
    example="ptycho-dist doctor scan.npz --output_dir runs/one --under torchrun --ranks 4",
    order=14,
    operand="scan",
    operand_help=SCAN_HELP,
    operand_is_optional=True,
    operand_flags=("train_data_file",),
    paths=OUTPUT,
    sections={**TRAINING_SECTIONS, "doctor": DoctorConfig},
    stages=(TRAIN, INFER),
    main_flags=(
        "output_dir",
        "devices",
        "under",
        "ranks",
        "json",
        "config",
    ),
)


@register_command(COMMAND)
def doctor(typed: Typed) -> int:
    """Examine the launch; 0 if it will do, 2 if a check failed, on every rank."""
    config = DoctorConfig(**own_section(typed, "doctor", DoctorConfig))
    request = make_request(typed)
    if request.output_dir is not None:
        require_output_folder(request.output_dir)
    if config.under is not None and launcher_name(os.environ) == "plain":
        configure_logging(typed)
        return _start_under(config.under, config.ranks, typed)

    def rank_work(context: RankContext) -> int:
        from ptycho_dist.doctor.run import examine

        diagnosis = examine(request, context)
        if context.rank == 0:
            _report(diagnosis, as_json=config.json)
        return 0 if diagnosis.is_healthy else USER_ERROR

    return on_ranks(typed, ranks_of(request), rank_work)


def launch_command(launcher: str, ranks: int) -> list[str]:
    """Command that starts so many ranks of what follows it, on one node.

    Raises
    ------
    ConfigError
        If the launcher is not installed.
    """
    if launcher == "torchrun":
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    beside = Path(sys.executable).with_name(launcher)
    found = str(beside) if beside.is_file() else shutil.which(launcher)
    if found is None:
        msg = f"doctor.under = {launcher!r}, but there is no {launcher} on PATH. Install or load it, or name another."
        raise ConfigError(msg)
    if launcher == "mpirun":
        return [found, *_open_mpi_flags(found), "-n", str(ranks), sys.executable]
    return [
        found,
        "--nodes=1",
        f"--ntasks={ranks}",
        f"--ntasks-per-node={ranks}",
        "--kill-on-bad-exit=1",
        sys.executable,
    ]


def _open_mpi_flags(mpirun: str) -> list[str]:
    """Return what Open MPI needs to start anything as root or on few cores; others need nothing."""
    said = subprocess.run([mpirun, "--version"], capture_output=True, text=True, check=False).stdout
    if "Open MPI" not in said:
        return []
    return ["--oversubscribe", *(["--allow-run-as-root"] if os.geteuid() == 0 else [])]


def _start_under(launcher: str, ranks: int, typed: Typed) -> int:
    """Run this command line as ranks of a launcher; its exit code is brought to 0 or 2."""
    env = {name: value for name, value in os.environ.items() if name != LAUNCHER_VARIABLE}
    command = [*launch_command(launcher, ranks), "-m", "ptycho_dist", *typed.argv]
    return USER_ERROR if subprocess.run(command, env=env, check=False).returncode else 0


def _report(diagnosis: Diagnosis, *, as_json: bool) -> None:
    if as_json:
        facts = {
            "results": [asdict(one) for one in diagnosis.results],
            "ranks": [asdict(one) for one in diagnosis.ranks],
        }
        sys.stdout.write(f"{json.dumps(facts, indent=1)}\n")
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("check", "", "found", "fix")
    for one in diagnosis.results:
        colour = _COLOURS[one.status]
        table.add_row(one.name, f"[{colour}]{one.status}[/]", escape(one.found), escape(one.fix))
    Console(file=sys.stdout).print(table)
