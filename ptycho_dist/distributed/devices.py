"""Device and backend of an accelerator, type of a precision, and how this process keeps freed memory."""

from __future__ import annotations

import ctypes
import logging
import os

import torch

logger = logging.getLogger(__name__)
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of mallopt(3)."""
_KEPT_BYTES = 1 << 30
_LARGEST_KEPT_BYTES = 32 << 20
"""The most that glibc admits for M_MMAP_THRESHOLD."""


def device_of(accelerator: str, local_rank: int) -> torch.device:
    """Device of a rank on its node; ``accelerator`` is resolved (not ``auto``).

    Where a rank sees one GPU alone (``--gpus-per-task=1``, CUDA_VISIBLE_DEVICES for each rank), that is its own.
    """
    if accelerator == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", 0 if torch.cuda.device_count() == 1 else local_rank)


def set_determinism(device: torch.device, wanted: bool | str) -> None:
    """Let a GPU give the same bits in each run, where that is wanted; a CPU does so anyway.

    Memory that is about to be written is not filled first, as torch would do in this mode.

    Parameters
    ----------
    device
        Of this rank.
    wanted
        True, False, or "warn" where an operation that cannot is to be told of only.
    """
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if device.type == "cuda" and wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(mode=True, warn_only=wanted == "warn")


def gpu_of(device: torch.device) -> str:
    """Tell which GPU a device is, whatever its index in this process: its UUID, or that of its MIG instance.

    Empty for a CPU, and for a GPU that this process does not see.
    """
    if device.type != "cuda" or (device.index or 0) >= torch.cuda.device_count():
        return ""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if visible[0].startswith("MIG-"):
        return visible[device.index or 0].strip()
    return str(torch.cuda.get_device_properties(device).uuid)


def dtype_of(precision: str) -> torch.dtype:
    """Type of weights in a precision; mixed ones keep float32 weights."""
    return torch.float64 if precision == "64-true" else torch.float32


def process_group_backend(accelerator: str) -> str:
    """Name the backend: nccl between CUDA devices, gloo for everything on the CPU."""
    return "cpu:gloo,cuda:nccl" if device_of(accelerator, 0).type == "cuda" else "gloo"


def keep_freed_memory() -> bool:
    """Let arrays of up to 32 MiB use again the memory that others gave back, up to 1 GiB of it.

    glibc else returns it to the kernel and takes new pages, which are cleared at first touch, many times in each
    step. Peak memory stays as it is. The environment variables of mallopt(3) have the last word.

    Returns
    -------
    bool
        Whether the C library has taken it; others than glibc have no such settings.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        logger.debug("this C library has no mallopt; freed memory goes where it decides")
        return False
    kept = (_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES), (_TRIM_THRESHOLD, _KEPT_BYTES)
    return all(library.mallopt(name, value) == 1 for name, value in kept)
