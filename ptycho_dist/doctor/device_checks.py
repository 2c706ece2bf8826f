"""Checks of what each rank has for itself on its host: a device, cores, open files, a share of the work."""

from __future__ import annotations

from ptycho_dist.doctor.facts import Needs
from ptycho_dist.doctor.outcome import FAIL, OK, SKIP, WARN, Facts, Result, by_host

OWN_FILES = 64
"""Files that a rank opens beside its connections to the others."""


_OWN_GPU = (
    "Show every rank one GPU of its own (SLURM: --gpus-per-task=1), or all GPUs of its node (--gpus-per-node with "
    "--gpu-bind=none; unset CUDA_VISIBLE_DEVICES), or start fewer ranks."
)


def devices(ranks: Facts, needs: Needs) -> Result:
    """Whether each node has as many ranks as devices were asked for, and each rank its GPU."""
    local, gpus = ranks[0].local_world, min(one.gpus for one in ranks)
    found = f"{local} ranks on each node, {gpus} GPUs visible, accelerator {needs.accelerator}"
    if needs.devices is not None and needs.devices != local:
        fix = f"Start {needs.devices} ranks per node, or set execution.devices = {local} (or auto)."
        return Result("devices", FAIL, f"{found}, but execution.devices = {needs.devices}", fix)
    if needs.accelerator in ("cuda", "gpu"):
        problem = _gpu_problem(ranks)
        return Result("devices", FAIL, f"{found}: {problem}", _OWN_GPU) if problem else Result("devices", OK, found)
    if needs.accelerator == "cpu" and gpus > 0:
        return Result("devices", WARN, f"{found}: the GPUs stay idle", "Set execution.accelerator = 'auto' or 'gpu'.")
    unused = next((one for one in ranks if one.unused), None)
    if unused is not None:
        fix = "Install a torch for it if this program is to use it; XPUs it does not use at all."
        return Result("devices", WARN, f"{found}, while {unused.host} has {unused.unused}", fix)
    return Result("devices", OK, found)


def _gpu_problem(ranks: Facts) -> str:
    """Name a rank without a GPU, or two that share one; empty where each has its own."""
    first: dict[str, int] = {}
    for one in ranks:
        if not one.gpu:
            return f"rank {one.rank} on {one.host} would have none"
        if one.gpu in first:
            return f"ranks {first[one.gpu]} and {one.rank} use the same one ({one.gpu})"
        first[one.gpu] = one.rank
    return ""


def threads(ranks: Facts, needs: Needs) -> Result:
    """Whether the threads of the ranks on a host fit its cores."""
    for host, there in by_host(ranks).items():
        cores = len({core for one in there for core in one.cores})
        wanted = sum(one.threads for one in there)
        if wanted > cores:
            fix = (
                f"Set OMP_NUM_THREADS={cores // len(there)}"
                if cores >= len(there)
                else f"Start at most {cores} of them"
            )
            return Result(
                "threads",
                WARN,
                f"{len(there)} ranks on {host} use {wanted} threads on {cores} cores",
                f"{fix}, or bind the ranks to more cores (--cpus-per-task).",
            )
    most = max(one.threads for one in ranks)
    return Result("threads", OK, f"{most} threads a rank, {len(ranks[0].cores)} cores for rank 0")


def batch(ranks: Facts, needs: Needs) -> Result:
    """Whether each rank has a share of every batch."""
    size, world = needs.batch_size, ranks[0].world
    if size is None:
        return Result("batch", SKIP, "unknown, or each rank has its own")
    found = f"batch_size = {size} for {world} rank{'s' if world > 1 else ''}"
    if size < world:
        fix = f"Set batch_size = {world} or more, or start {size} rank{'s' if size > 1 else ''}."
        return Result("batch", WARN, f"{found}: {world - size} of them idle in each step", fix)
    return Result("batch", OK, found)


def open_files(ranks: Facts, needs: Needs) -> Result:
    """Whether each rank may hold a connection to every other one, and its files, open."""
    least = min(ranks, key=lambda one: one.open_files)
    needed = ranks[0].world + OWN_FILES
    found = f"{least.open_files} may be open, {needed} are needed ({ranks[0].world} ranks and {OWN_FILES})"
    if least.open_files < needed:
        fix = "Raise the hard limit (ulimit -Hn, LimitNOFILE, or the batch system's), or start fewer ranks."
        return Result("open files", FAIL, f"rank {least.rank} on {least.host}: {found}", fix)
    return Result("open files", OK, found)
