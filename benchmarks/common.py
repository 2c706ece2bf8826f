"""What all benchmarks do: run the package as real processes, and write what was measured."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptycho_dist.atomic import atomic_path
from ptycho_dist.commands.registry import commands

RESULTS = Path(__file__).resolve().parent / "results"


def ptycho_dist(*arguments: str, threads: int = 1) -> str:
    """Run a command of the package, with so many threads in each process; stop on an error. Returns what it printed."""
    command = command_of(*arguments)
    return subprocess.run(command, env=environment(threads), check=True, stdout=subprocess.PIPE, text=True).stdout


def command_of(*arguments: str) -> list[str]:
    """Command line that runs a command of the package, quietly, and measures anew what was measured before."""
    anew = ["--overwrite"] if commands()[arguments[0]].replaces else []
    return [sys.executable, "-m", "ptycho_dist", *arguments, *anew, "--quiet"]


def environment(threads: int = 1) -> dict[str, str]:
    """Variables of such a command."""
    return os.environ | {"OMP_NUM_THREADS": str(threads)}


def write_results(name: str, measured: Mapping[str, Any]) -> Path:
    """Write measurements, and what machine they are of, to ``results/NAME.json``."""
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    path = RESULTS / f"{name}.json"
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({"machine": machine, **measured}, indent=2) + "\n", encoding="utf-8")
    return path
