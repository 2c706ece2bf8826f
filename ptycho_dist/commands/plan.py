"""The command that predicts how a job scales.

Heavy packages are imported inside the functions, so that help answers at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from ptycho_dist.commands.path_checks import require_output_folder, require_scan
from ptycho_dist.commands.registry import SCAN_HELP, Command, Typed, register_command
from ptycho_dist.commands.startup import make_request, on_ranks, own_section, ranks_to_start, required_path
from ptycho_dist.config.command_settings import PlanConfig
from ptycho_dist.config.sections import ALL_SECTIONS
from ptycho_dist.errors import LaunchError
from ptycho_dist.launching.environment import RankContext, launcher_name

if TYPE_CHECKING:
    from ptycho_dist.plan.calibrate import Calibration
    from ptycho_dist.plan.model import Job, Measurement, Row

_STAGES, _WHOLE_FROM_S, _WIDTH = ("train s", "predict s", "stitch s", "refine s"), 100, 120
_RANKS_BESIDE = 2
"""Ranks of the second calibration, which also measures the interconnect."""

COMMAND = Command(
    name="plan",
    summary="predict time and memory of a job on any number of ranks",
    description="Calibrate for some seconds on this machine, then predict a reconstruction: its training, its "
    "prediction, stitching and refinement.",
    example="ptycho-dist plan scan.npz --ranks 1,2,4,8 --max_epochs 60",
    order=15,
    operand="scan",
    operand_help=SCAN_HELP,
    operand_flags=("train_data_file",),
    paths={"output_dir": "Folder for the files of the calibration, which are removed; that of the system if not set."},
    sections={**ALL_SECTIONS, "plan": PlanConfig},
    main_flags=(
        "ranks",
        "devices",
        "max_epochs",
        "iterations",
        "output_dir",
        "config",
        "json",
    ),
)


@register_command(COMMAND)
def plan(typed: Typed) -> int:
    """Calibrate for some seconds, and predict time and memory for each number of ranks."""
    config = PlanConfig(**own_section(typed, "plan", PlanConfig))
    require_scan(required_path(typed, "scan"))
    request = make_request(typed)
    if request.output_dir is not None:
        require_output_folder(request.output_dir)
    devices = typed.overrides.get("execution.devices", "auto")
    beside = launcher_name(os.environ) == "plain" and devices == "auto"

    def rank_work(context: RankContext) -> int:
        from ptycho_dist.plan.calibrate import calibrate
        from ptycho_dist.plan.model import predict

        found = calibrate(request, context, config.numbers)
        measurements = [found.measurement]
        if beside and len(os.sched_getaffinity(0)) >= _RANKS_BESIDE:
            measurements.append(_measure_beside(typed))
        if context.rank == 0:
            rows = [predict(found.job, measurements, ranks) for ranks in config.numbers]
            (_write_json if config.json else _write_table)(found, measurements, rows)
        return 0

    return on_ranks(replace(typed, quiet=True), ranks_to_start(devices), rank_work)


def _measure_beside(typed: Typed) -> Measurement:
    """Calibrate on two ranks of our own supervisor, in processes of their own."""
    from ptycho_dist.plan.model import Measurement

    more = ["--devices", str(_RANKS_BESIDE), "--json"]
    command = [sys.executable, "-m", "ptycho_dist", *typed.argv, *(more[:2] if "--json" in typed.argv else more)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        msg = (
            f"the calibration on {_RANKS_BESIDE} ranks ended with exit code {done.returncode}; its message is above. "
            "Fix that, or give --devices 1 to calibrate on one rank only."
        )
        raise LaunchError(msg)
    facts: Any = json.loads(done.stdout)["measurements"][0]
    return Measurement(**facts | {name: tuple(facts[name]) for name in ("patterns", "step_s")})


def _write_json(found: Calibration, measurements: Sequence[Measurement], rows: Sequence[Row]) -> None:
    from ptycho_dist.plan.model import limit_of

    report = {
        "job": asdict(found.job) | {"steps": found.job.steps},
        "measurements": [asdict(one) for one in measurements],
        "rows": [asdict(row) | {"total_s": row.total_s, "memory_bytes": found.memory_bytes[row.ranks]} for row in rows],
        "idle_ranks": idle_ranks(found.job, rows),
        "stops_paying": asdict(limit_of(found.job, measurements)),
    }
    sys.stdout.write(f"{json.dumps(report, indent=1)}\n")


def _write_table(found: Calibration, measurements: Sequence[Measurement], rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    from ptycho_dist.plan.model import limit_of

    job, last = found.job, measurements[-1]
    table = Table(title=f"{job.n_patterns} patterns, {job.steps} steps of {job.batch_size} groups of {job.group_size}")
    for name in ("ranks", *_STAGES, "total s", "speed-up", "MiB/rank", "MiB/step", "from"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        seconds = (row.training_s, row.prediction_s, row.stitching_s, row.refinement_s, row.total_s)
        table.add_row(
            str(row.ranks),
            *(f"{one:.1f}" if one < _WHOLE_FROM_S else f"{one:.0f}" for one in seconds),
            f"{rows[0].total_s / row.total_s:.2f}",
            f"{found.memory_bytes[row.ranks] / 2**20:.0f}",
            f"{row.sent_bytes / 2**20:.2f}",
            "measured" if row.is_measured else "model",
        )
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDTH)
    console.print(table)
    if last.ranks > 1:
        console.print(
            f"Interconnect of {last.ranks} ranks: {last.latency_s * 1e6:.0f} us, {last.bytes_per_s / 2**30:.2f} GiB/s."
        )
    console.print(
        f"A prediction, not a measurement: more ranks than {last.ranks} are taken to have hosts and an interconnect "
        f"like these. A global step of {job.batch_size} groups feeds at most {job.batch_size} ranks."
    )
    limit = limit_of(job, measurements)
    console.print(f"Adding ranks stops paying at {limit.ranks}: {limit.reason}.")
    for ranks, idle in idle_ranks(job, rows).items():
        console.print(f"Warning: of {ranks} ranks {idle} idle in each step; set batch_size = {ranks} or more for them.")


def idle_ranks(job: Job, rows: Sequence[Row]) -> dict[int, int]:
    """Numbers of ranks that a step does not feed, and how many of them idle."""
    return {row.ranks: row.ranks - job.batch_size for row in rows if row.ranks > job.batch_size}
