"""What a rank knows of itself and its host, and what a job needs; plain values, so that they can be exchanged."""

from __future__ import annotations

from dataclasses import dataclass

from ptycho_dist.launching.network_interfaces import Interface


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory of a host and of this process, in bytes.

    Parameters
    ----------
    available_bytes
        What processes of this host may still take.
    limit_bytes, limit_name
        The tightest limit of this process and where it comes from.
    used_bytes
        What this process uses (resident).
    """

    available_bytes: int
    limit_bytes: int
    limit_name: str
    used_bytes: int


@dataclass(frozen=True, kw_only=True)
class SlurmFacts:
    """What SLURM says of the job; None where it is silent.

    Parameters
    ----------
    job, tasks
        Job id; number of tasks of the allocation.
    time_left_s
        Seconds to the time limit; infinite without one. Known on rank 0 only.
    """

    job: str
    tasks: int | None
    time_left_s: float | None


@dataclass(frozen=True, kw_only=True)
class RankFacts:
    """What one rank knows.

    Parameters
    ----------
    rank, world, local_world, node_rank, nodes, launcher, why
        As in :class:`~ptycho_dist.launching.environment.RankContext`.
    host
        Name of the host.
    version, torch_version
        Of this package and of torch.
    cores, threads
        CPU cores that this process may use, by number; threads that it computes with.
    gpus, gpu
        How many GPUs this process can see, and which one it uses; empty for none.
    unused
        Accelerators of this host that torch cannot use; empty without any.
    open_files
        Files and connections that this process may hold open.
    backend
        gloo or nccl.
    interfaces, interface
        Those of the host; the one that a variable names, empty for none.
    host_address
        Address to which the host's own name resolves; empty where it does not.
    mpi
        First line of what the MPI library says of itself; empty where mpi4py or the library is missing.
    memory
        Memory of host and process.
    disk_free_bytes
        Free bytes where results go; None where that is unknown.
    folder
        Where results go.
    owner
        Who else holds that folder, or held it when its process ended; empty for nobody.
    sees_file
        Whether this rank sees the file that rank 0 wrote there; None where it was not looked for.
    fingerprint
        Fingerprint of the payload; empty where no scan was given.
    problem
        Why there is no payload; empty where there is one, or no scan was given.
    slurm
        What SLURM says; None outside SLURM.
    """

    rank: int
    world: int
    local_world: int
    node_rank: int
    nodes: int
    launcher: str
    why: str
    host: str
    version: str
    torch_version: str
    cores: tuple[int, ...]
    threads: int
    gpus: int
    backend: str
    interfaces: tuple[Interface, ...]
    interface: str
    host_address: str
    mpi: str
    memory: Memory
    disk_free_bytes: int | None
    folder: str
    sees_file: bool | None = None
    owner: str = ""
    open_files: int = 1 << 20
    gpu: str = ""
    unused: str = ""
    fingerprint: str = ""
    problem: str = ""
    slurm: SlurmFacts | None = None


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a job needs; None where that is unknown.

    Parameters
    ----------
    devices, accelerator
        Ranks per node, and their kind of device, as the settings ask for.
    batch_size
        Groups of a step of a training, patterns of an update of a refinement, over all ranks.
    memory_bytes
        Memory of one rank.
    disk_bytes
        Size of all results.
    seconds
        Duration, as far as it can be estimated without a calibration.
    """

    devices: int | None = None
    accelerator: str = "cpu"
    batch_size: int | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    seconds: float | None = None
