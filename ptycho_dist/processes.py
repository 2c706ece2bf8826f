"""Which process a process id means."""

from __future__ import annotations

from pathlib import Path


def place() -> str:
    """Boot of this host and namespace of its processes; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def start_of(pid: int) -> int | None:
    """When a process started, in ticks since boot; None where it has ended, or the system does not tell."""
    try:
        state, *others = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else int(others[18])
