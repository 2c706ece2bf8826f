"""Where facts come from: /proc, control groups, resource limits, SLURM."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from ptycho_dist.doctor.facts import Memory, SlurmFacts

_KIB = 1024
_UNLIMITED = 1 << 60
_SQUEUE_LIMIT_S = 5.0
_GROUP_FILES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
"""Limit and use of a control group, versions 2 and 1."""


def memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> Memory:
    """Read memory of the host and limits of this process: control groups, RLIMIT_AS, physical memory."""
    host = _table(proc / "meminfo")
    limits = [(host["MemTotal"], "physical memory")]
    available = host["MemAvailable"]
    for folder in _own_groups(proc / "self" / "cgroup", groups):
        for limit_file, used_file in _GROUP_FILES:
            limit, used = _number(folder / limit_file), _number(folder / used_file)
            if limit is not None and limit < _UNLIMITED:
                limits.append((limit, f"control group {folder}"))
                available = min(available, limit - (used or 0))
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    if soft != resource.RLIM_INFINITY:
        limits.append((soft, "RLIMIT_AS (ulimit -v)"))
    limit_bytes, limit_name = min(limits)
    used_bytes = _table(proc / "self" / "status").get("VmRSS", 0)
    return Memory(
        available_bytes=max(0, available), limit_bytes=limit_bytes, limit_name=limit_name, used_bytes=used_bytes
    )


def _table(path: Path) -> dict[str, int]:
    """Read lines such as ``MemTotal: 5 kB``, in bytes."""
    found = re.findall(r"^(\w+):\s+(\d+) kB$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: int(value) * _KIB for name, value in found}


def _own_groups(membership: Path, root: Path) -> Iterator[Path]:
    """Folders of the control groups of this process and of those around them."""
    lines = membership.read_text(encoding="utf-8").splitlines() if membership.is_file() else []
    for line in lines:
        _, controllers, inside = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "memory" if controllers else root
        own = top / inside.lstrip("/")
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(top))


def _number(path: Path) -> int | None:
    """Whole number in a file; None where there is no file or no number (``max``)."""
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8").strip()
    return int(text) if text.isdigit() else None


def unused_accelerators(env: Mapping[str, str], root: Path = Path("/")) -> str:
    """Name accelerators of this host that torch does not see, unless they were hidden on purpose.

    Parameters
    ----------
    env
        Environment variables; an empty CUDA_VISIBLE_DEVICES hides GPUs.
    root
        Where the system's folders are.
    """
    found = []
    is_hidden = env.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or env.get("HIP_VISIBLE_DEVICES") in ("", "-1")
    if not torch.cuda.is_available() and not is_hidden:
        if any((root / "dev").glob("nvidia[0-9]*")):
            found.append(f"an NVIDIA GPU (torch {torch.__version__} or the driver cannot use it)")
        if (root / "dev" / "kfd").exists():
            found.append(f"an AMD GPU (torch {torch.__version__} cannot use it)")
    if torch.xpu.is_available():
        found.append("an Intel XPU (this program does not use it)")
    return " and ".join(found)


def disk_free(folder: Path) -> int | None:
    """Bytes that may still be written where a folder is or will be; None where that cannot be determined."""
    nearest = next((one for one in (folder, *folder.absolute().parents) if one.exists()), None)
    if nearest is None:
        return None
    found = os.statvfs(nearest)
    return found.f_bavail * found.f_frsize


def slurm(env: Mapping[str, str], *, ask_time: bool) -> SlurmFacts | None:
    """Find out what SLURM says of this job; None outside of one.

    Parameters
    ----------
    env
        Environment variables.
    ask_time
        Whether to find out the time left, which may take a call of squeue.
    """
    job = env.get("SLURM_JOB_ID")
    if job is None:
        return None
    tasks = env.get("SLURM_NTASKS", "")
    left = _time_left(env, job) if ask_time else None
    return SlurmFacts(job=job, tasks=int(tasks) if tasks.isdigit() else None, time_left_s=left)


def _time_left(env: Mapping[str, str], job: str) -> float | None:
    end = env.get("SLURM_JOB_END_TIME", "")
    if end.isdigit():
        return int(end) - time.time()
    squeue = shutil.which("squeue")
    if squeue is None:
        return None
    command = [squeue, "--noheader", "--jobs", job, "--format", "%L"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_SQUEUE_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return None
    return duration_s(said.stdout.strip())


def duration_s(text: str) -> float | None:
    """Seconds of SLURM's ``days-hours:minutes:seconds``; infinite for UNLIMITED, None for what is no duration."""
    if text == "UNLIMITED":
        return float("inf")
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
