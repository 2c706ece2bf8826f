"""Patterns per second that a running scan is followed at, and the time to the first picture.

Run ``python -m benchmarks.live``. A process of its own writes a simulated scan at a pace (HDF5 in SWMR form) or sends
it (ZeroMQ, DECTRIS stream), and ``ptycho-dist infer --follow`` or ``--zmq`` predicts it with the network of the
package. Told are the seconds from the 50th pattern to the first picture, those from the last pattern to the picture of
all of them, and how many patterns were written and followed in a second. The prediction of the whole scan at the end
is not waited for. The probe is that of the scan file (``--probe``), as a beamline has one of an earlier scan.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.common import command_of, environment, ptycho_dist, write_results

_AIMS = {64: (500.0, 2.0)}
"""Patterns per second, and seconds to the first picture, by the side of a pattern."""
_LIMIT_S = 600.0
_READY, _ENDS = "ready; waiting", "launcher"
_LATE_S = 2.0
"""Longest time after the last pattern in which the picture of all of them appears, where the pace was kept."""


@dataclass(frozen=True)
class Run:
    """One scan that was followed.

    Parameters
    ----------
    kind, side, patterns, pace_per_s
        How it came, side of its patterns, how many, and how many were to come in a second.
    first_picture_s
        Seconds from the 50th pattern to the first picture.
    behind_s
        Seconds from the last pattern to the picture of all.
    written_per_s, followed_per_s
        Patterns per second from the 50th on that were written, and that were predicted and drawn.
    per_cpu_s
        Patterns per second of processor time, pictures and products included: what one free core follows.
    """

    kind: str
    side: int
    patterns: int
    pace_per_s: float
    first_picture_s: float
    behind_s: float
    written_per_s: float
    followed_per_s: float
    per_cpu_s: float

    @property
    def keeps_pace(self) -> bool:
        """Whether it was not behind at the end."""
        return self.behind_s < _LATE_S


def follow(kind: str, scan: Path, pace_per_s: float, side: int, patterns: int) -> Run:
    """Follow one scan, and stop when its prediction as a whole begins."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        target = str(folder / "running.h5") if kind == "swmr" else "ipc://" + str(folder / "socket")
        flags = (
            "--follow" if kind == "swmr" else "--zmq",
            target,
            "--output_dir",
            str(folder / "out"),
            "--probe",
            str(scan),
        )
        command = [*command_of("infer", *flags, "--timeout_s", "60", "--accelerator", "cpu")[:-1]]
        log = folder / "log.txt"
        with log.open("w", encoding="utf-8") as told, subprocess.Popen(command, env=_plain(), stderr=told) as infer:
            try:
                wait_for(log, _READY)
                idle_s = cpu_s(infer.pid)
                sender = [sys.executable, "-m", "tests.support.live_writers", kind, str(scan), target]
                with subprocess.Popen(
                    [*sender, "--per_s", str(pace_per_s)], stdout=subprocess.PIPE, text=True, env=_plain()
                ) as writer:
                    first = first_picture(folder / "out" / "preview.png")
                    times = dict(line.split() for line in writer.communicate()[0].splitlines())
                wait_for(log, _ENDS)
                used_s = cpu_s(infer.pid) - idle_s
                last = (folder / "out" / "interim.h5").stat().st_mtime
            finally:
                infer.kill()
    fifty, end = float(times["fifty"]), float(times["all"])
    rates = [(patterns - 50) / (stop - fifty) for stop in (end, last)]
    return Run(kind, side, patterns, pace_per_s, first - fifty, last - end, rates[0], rates[1], patterns / used_s)


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, in seconds."""
    words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _plain() -> dict[str, str]:
    return environment() | {"COLUMNS": "200", "CUDA_VISIBLE_DEVICES": ""}


def wait_for(log: Path, words: str) -> None:
    """Wait until a log has some words."""
    limit = time.monotonic() + _LIMIT_S
    while words not in (text := log.read_text(encoding="utf-8")):
        if time.monotonic() > limit or "not finished" in text:
            msg = f"{words!r} did not come within {_LIMIT_S:g} s: {text[-2000:]}"
            raise TimeoutError(msg)
        time.sleep(0.05)


def first_picture(path: Path) -> float:
    """Wait until another picture takes the place of the empty one, and return its time."""
    before, limit = path.stat().st_ino, time.monotonic() + _LIMIT_S
    while (found := path.stat()).st_ino == before and time.monotonic() < limit:
        time.sleep(0.01)
    return found.st_mtime


def main() -> int:
    """Measure; 1 where an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--patterns", type=int, default=3000, help="patterns of a simulated scan")
    parser.add_argument("--paces", default="64:500,64:5000,128:300,128:5000", help="SIDE:PATTERNS_PER_S, with commas")
    parser.add_argument("--kinds", default="swmr,zmq", help="how they come")
    arguments = parser.parse_args()
    paces = [(int(side), float(pace)) for side, _, pace in (one.partition(":") for one in arguments.paces.split(","))]
    table = Table(
        "", "pace", "written/s", "followed/s", "per CPU s", "first picture", "behind at the end", title="Live"
    )
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as name:
        scans = {side: Path(name) / f"scan{side}.h5" for side, _ in paces}
        for side, path in scans.items():
            ptycho_dist("simulate", str(path), "--N", str(side), "--n_patterns", str(arguments.patterns))
        for kind in arguments.kinds.split(","):
            for side, pace in paces:
                runs.append(follow(kind, scans[side], pace, side, arguments.patterns))
                sys.stdout.write(f"{runs[-1]}\n")
                sys.stdout.flush()
    for run in runs:
        rates = (
            f"{run.pace_per_s:.0f}",
            f"{run.written_per_s:.0f}",
            f"{run.followed_per_s:.0f}",
            f"{run.per_cpu_s:.0f}",
        )
        seconds = (f"{run.first_picture_s:.2f} s", f"{run.behind_s:.2f} s")
        table.add_row(f"{run.kind}, {run.side} x {run.side}", *rates, *seconds)
    Console(width=120).print(table)
    results = {"load": os.getloadavg()[0], "runs": [asdict(run) for run in runs]}
    sys.stdout.write(f"written to {write_results('live', results)}\n")
    return int(any(misses(run) for run in runs))


def misses(run: Run) -> bool:
    """Tell whether a run misses an aim."""
    pace, seconds = _AIMS.get(run.side, (0.0, 0.0))
    return run.pace_per_s == pace and not (run.keeps_pace and run.first_picture_s <= seconds)


if __name__ == "__main__":
    sys.exit(main())
