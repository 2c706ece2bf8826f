"""The checks: pure functions of what all ranks know, and of what the job needs."""

from __future__ import annotations

import math
from collections.abc import Callable

from ptycho_dist.distributed.agreement import describe_disagreement
from ptycho_dist.doctor.device_checks import batch, devices, open_files, threads
from ptycho_dist.doctor.facts import Needs
from ptycho_dist.doctor.outcome import FAIL, OK, SKIP, WARN, Facts, Result, by_host, listed
from ptycho_dist.launching.network_interfaces import INTERFACE_VARIABLES

WHO_NAMES = " and ".join(INTERFACE_VARIABLES)
ESTIMATES_MAY_ERR = 1.3
"""A need is estimated from settings alone; a job is refused only where it exceeds what is there by this factor."""


Check = Callable[[Facts, Needs], Result]


def launcher(ranks: Facts, needs: Needs) -> Result:
    """Which launcher was seen, and whether it started all that was meant to start."""
    first = ranks[0]
    found = f"{first.launcher} ({first.why})"
    tasks = first.slurm.tasks if first.slurm else None
    if first.launcher == "plain" and tasks is not None and tasks > 1:
        return Result(
            "launcher",
            WARN,
            f"{found}, inside SLURM job {first.slurm.job if first.slurm else ''} with {tasks} tasks",
            "This process is alone; start the ranks with srun (see slurm/), or with --devices.",
        )
    return Result("launcher", OK, found)


def world(ranks: Facts, needs: Needs) -> Result:
    """Whether every rank is there once, and equally many on every host."""
    hosts = by_host(ranks)
    counts = {host: len(there) for host, there in hosts.items()}
    found = f"{len(ranks)} ranks on {len(hosts)} hosts: {listed(f'{host} {n}' for host, n in counts.items())}"
    if [one.rank for one in ranks] != list(range(ranks[0].world)):
        missing = sorted(set(range(ranks[0].world)) - {one.rank for one in ranks})
        return Result("ranks", FAIL, f"{found}; ranks {missing} of {ranks[0].world} are missing", "Start all ranks.")
    if len(set(counts.values())) > 1:
        return Result("ranks", FAIL, found, "Start equally many ranks on every host (--ntasks-per-node, -ppn, -N).")
    return Result("ranks", OK, found)


def backend(ranks: Facts, needs: Needs) -> Result:
    """Which backend joins the ranks."""
    names = sorted({one.backend for one in ranks})
    if len(names) > 1:
        return Result("backend", FAIL, f"ranks chose {' and '.join(names)}", "Give all ranks the same accelerator.")
    return Result("backend", OK, names[0])


def interface(ranks: Facts, needs: Needs) -> Result:
    """Whether ranks on several hosts would listen where others reach them."""
    hosts = by_host(ranks)
    for one in ranks:
        if one.interface and one.interface not in {known.name for known in one.interfaces}:
            offered = listed(f"{known.name} {known.address}" for known in one.interfaces)
            found = f"rank {one.rank} on {one.host} is told to use {one.interface!r}, which is not there"
            return Result("network interface", FAIL, found, f"Name one of {offered}, or unset {WHO_NAMES}.")
    if ranks[0].interface:
        return Result("network interface", OK, f"{ranks[0].interface} (named by a variable)")
    if len(hosts) == 1:
        return Result("network interface", OK, "one host, loopback is enough")
    for host, there in hosts.items():
        address = there[0].host_address
        if not address or address.startswith("127.") or address == "::1":
            offered = listed(f"{one.name} {one.address}" for one in there[0].interfaces if not one.is_loopback)
            said = f"its own name resolves to {address}" if address else "its own name does not resolve"
            return Result(
                "network interface",
                FAIL,
                f"{host}: {said}; other hosts cannot reach gloo or NCCL there",
                f"Export PTYCHO_DIST_INTERFACE (found: {offered or 'no interface'}).",
            )
    return Result("network interface", OK, listed(f"{host} {there[0].host_address}" for host, there in hosts.items()))


def mpi(ranks: Facts, needs: Needs) -> Result:
    """Whether mpi4py finds an MPI library, where MPI started the ranks."""
    missing = [one.rank for one in ranks if not one.mpi]
    if ranks[0].launcher != "mpi":
        return Result("MPI library", SKIP, ranks[0].mpi or "none, and none is needed")
    if missing:
        found = f"mpi4py or its MPI library is missing on {len(missing)} of {len(ranks)} ranks"
        return Result("MPI library", WARN, f"{found}; port and address are derived", "Install ptycho-dist[mpi].")
    return Result("MPI library", OK, ranks[0].mpi)


def shared_files(ranks: Facts, needs: Needs) -> Result:
    """Whether every rank sees a file that rank 0 wrote."""
    blind = [f"{one.rank} ({one.host})" for one in ranks if one.sees_file is False]
    if all(one.sees_file is None for one in ranks):
        return Result("shared files", SKIP, "not looked for")
    if blind:
        found = f"a file that rank 0 wrote to {ranks[0].folder} is not seen by rank {listed(blind)}"
        return Result("shared files", FAIL, found, "Choose an output_dir on a file system that all hosts share.")
    return Result("shared files", OK, f"{ranks[0].folder} is seen by all {len(ranks)} ranks")


def owner(ranks: Facts, needs: Needs) -> Result:
    """Whether the output folder is free."""
    first = ranks[0]
    if first.owner:
        fix = "Wait until that job has ended, or choose another output_dir; a job that is dead is taken over."
        return Result("owner", WARN, f"{first.folder} is held by {first.owner}", fix)
    return Result("owner", OK, f"nobody else holds {first.folder}")


def disk(ranks: Facts, needs: Needs) -> Result:
    """Whether the results fit on the disk."""
    free = ranks[0].disk_free_bytes
    if free is None or needs.disk_bytes is None:
        return Result("disk", SKIP, "unknown" if free is None else f"{size(free)} free in {ranks[0].folder}")
    found = f"{size(free)} free in {ranks[0].folder}, about {size(needs.disk_bytes)} needed"
    if needs.disk_bytes > ESTIMATES_MAY_ERR * free:
        return Result("disk", FAIL, found, "Free space, or choose another output_dir.")
    return Result("disk", OK, found)


def memory(ranks: Facts, needs: Needs) -> Result:
    """Whether the ranks of each host fit into its memory, and each into its own limit."""
    if needs.memory_bytes is None:
        own = ranks[0].memory
        return Result("memory", SKIP, f"{size(own.available_bytes)} available, limit {size(own.limit_bytes)}")
    need, fix = needs.memory_bytes, "Lower batch_size or width, start fewer ranks on a host, or ask for more memory."
    for host, there in by_host(ranks).items():
        room = min(one.memory.available_bytes for one in there)
        extra = sum(max(0, need - one.memory.used_bytes) for one in there)
        if extra > ESTIMATES_MAY_ERR * room:
            found = f"{len(there)} ranks on {host} need about {size(need)} each, {size(room)} are available"
            return Result("memory", FAIL, found, fix)
        for one in there:
            if need > ESTIMATES_MAY_ERR * one.memory.limit_bytes:
                limit = f"{size(one.memory.limit_bytes)} ({one.memory.limit_name})"
                return Result("memory", FAIL, f"rank {one.rank} needs about {size(need)}, its limit is {limit}", fix)
    least = min(one.memory.available_bytes for one in ranks)
    return Result("memory", OK, f"about {size(need)} a rank, {size(least)} available")


def settings(ranks: Facts, needs: Needs) -> Result:
    """Whether the settings make a payload, the same one on every rank."""
    for one in ranks:
        if one.problem:
            return Result("settings", FAIL, f"rank {one.rank}: {one.problem}", "Change what it names.")
    if not any(one.fingerprint for one in ranks):
        return Result("settings", SKIP, "no scan was given")
    difference = describe_disagreement([{"fingerprint": one.fingerprint[:12]} for one in ranks])
    if difference:
        fix = "Start every rank with the same arguments and files; a training names the fields that differ."
        return Result("settings", FAIL, difference, fix)
    return Result("settings", OK, f"payload {ranks[0].fingerprint[:12]} on all {len(ranks)} ranks")


def time_limit(ranks: Facts, needs: Needs) -> Result:
    """Whether the job fits into what SLURM leaves it."""
    left = ranks[0].slurm.time_left_s if ranks[0].slurm else None
    if left is None or needs.seconds is None:
        return Result("time limit", SKIP, "no SLURM job" if ranks[0].slurm is None else "time left or need is unknown")
    if math.isinf(left):
        return Result("time limit", OK, "none")
    found = f"{left:.0f} s left in SLURM job {ranks[0].slurm.job if ranks[0].slurm else ''}"
    found += f", very roughly {needs.seconds:.0f} s needed"
    if needs.seconds > left:
        fix = "Ask for more time (--time), or submit with --requeue: the job saves its state and resumes."
        return Result("time limit", WARN, found, fix)
    return Result("time limit", OK, found)


def versions(ranks: Facts, needs: Needs) -> Result:
    """Whether all ranks run the same program."""
    there = [{"ptycho-dist": one.version, "torch": one.torch_version} for one in ranks]
    difference = describe_disagreement(there)
    if difference:
        return Result("versions", FAIL, difference, "Use one environment, on a file system that all hosts share.")
    return Result("versions", OK, f"ptycho-dist {ranks[0].version}, torch {ranks[0].torch_version}")


CHECKS: tuple[Check, ...] = (
    launcher,
    world,
    devices,
    threads,
    open_files,
    batch,
    backend,
    interface,
    mpi,
    shared_files,
    owner,
    disk,
    memory,
    settings,
    time_limit,
    versions,
)
"""All checks, in the order of the report."""


def check_all(ranks: Facts, needs: Needs) -> tuple[Result, ...]:
    """Outcomes of all checks; the same on every rank that has the same facts."""
    return tuple(check(ranks, needs) for check in CHECKS)


def size(n_bytes: float) -> str:
    """Write a size for people."""
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"
