"""What this rank knows of itself, read from its surroundings."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ptycho_dist.atomic import sync
from ptycho_dist.distributed.devices import device_of, gpu_of, process_group_backend
from ptycho_dist.distributed.mpi import library as mpi_library
from ptycho_dist.doctor import sources
from ptycho_dist.doctor.facts import RankFacts
from ptycho_dist.errors import LaunchError
from ptycho_dist.factory.devices import count_gpus
from ptycho_dist.folder_claim import owner_of
from ptycho_dist.hdf5_files import open_for_reading, writing
from ptycho_dist.launching import open_files
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.launching.network_interfaces import INTERFACE_VARIABLES, own_interfaces
from ptycho_dist.version import package_version

Gather = Callable[[Any], list[Any]]
_SEE_WITHIN_S = 2.0
_LOOK_EVERY_S = 0.02
_ROWS = np.arange(4096)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is examined.

    Parameters
    ----------
    context
        Place of this rank.
    folder
        Where results go.
    accelerator
        As resolved.
    fingerprint, problem
        Of the payload; or why there is none.
    """

    context: RankContext
    folder: Path
    accelerator: str = "cpu"
    fingerprint: str = ""
    problem: str = ""


def own_facts(subject: Subject, env: Mapping[str, str], sees_file: bool | None) -> RankFacts:
    """Read what this rank knows."""
    context = subject.context
    return RankFacts(
        rank=context.rank,
        world=context.world,
        local_world=context.local_world,
        node_rank=context.node_rank,
        nodes=context.nodes,
        launcher=context.launcher,
        why=context.why,
        host=socket.gethostname(),
        version=package_version(),
        torch_version=torch.__version__,
        cores=tuple(sorted(os.sched_getaffinity(0))),
        threads=torch.get_num_threads(),
        gpus=count_gpus(),
        gpu=gpu_of(device_of(subject.accelerator, context.local_rank)),
        unused=sources.unused_accelerators(env),
        open_files=open_files.limit(),
        backend=process_group_backend(subject.accelerator),
        interfaces=own_interfaces(),
        interface=next((env[name] for name in INTERFACE_VARIABLES if env.get(name)), ""),
        host_address=_own_address() if context.nodes > 1 else "",
        mpi=mpi_library.library_version() if context.launcher == "mpi" else "",
        memory=sources.memory(),
        disk_free_bytes=sources.disk_free(subject.folder),
        folder=str(subject.folder),
        owner=_other_owner(subject.folder),
        sees_file=sees_file,
        fingerprint=subject.fingerprint,
        problem=subject.problem,
        slurm=sources.slurm(env, ask_time=context.rank == 0),
    )


def facts_of_all(subject: Subject, env: Mapping[str, str], gather: Gather) -> list[RankFacts]:
    """Gather what all ranks know, in rank order; rank 0 writes an HDF5 file meanwhile that all look for.

    Raises
    ------
    LaunchError
        On every rank, if rank 0 cannot write where results go.
    """
    name = gather(f".doctor-{secrets.token_hex(4)}.h5")[0]
    path, is_new = subject.folder / name, not subject.folder.exists()
    written = gather(_write(path) if subject.context.rank == 0 else "")[0]
    if written:
        raise LaunchError(written)
    try:
        facts: list[RankFacts] = gather(own_facts(subject, env, _appears(path)))
    finally:
        if subject.context.rank == 0:
            path.unlink(missing_ok=True)
            if is_new and not any(subject.folder.iterdir()):
                subject.folder.rmdir()
    return facts


def _write(path: Path) -> str:
    """Write a small HDF5 file for all to see, and read it; a sentence if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing(path) as file:
            file["rows"] = _ROWS
        sync(path)
        with open_for_reading(path) as file:
            is_whole = bool((file["rows"][()] == _ROWS).all())
    except OSError as error:
        return (
            f"rank 0 cannot write HDF5 to {path.parent} and read it ({error.strerror or error}); expected a folder for "
            "results. Free space, or choose another output_dir."
        )
    return "" if is_whole else f"{path.parent} gives back other HDF5 than was written; choose another output_dir."


def _appears(path: Path) -> bool:
    """Tell whether a file comes into sight; network file systems may take a moment."""
    deadline = time.monotonic() + _SEE_WITHIN_S
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


def _other_owner(folder: Path) -> str:
    """Who holds the output folder, unless it is this process; empty for nobody."""
    owner = owner_of(folder)
    return "" if owner is None or owner.pid == os.getpid() else str(owner)


def _own_address() -> str:
    """Address to which this host's own name resolves; empty where it does not."""
    try:
        return str(socket.getaddrinfo(socket.gethostname(), None)[0][4][0])
    except OSError:
        return ""
