"""Which device and backend belong to an accelerator, and which type to a precision."""

from __future__ import annotations

import torch


def device_of(accelerator: str, local_rank: int) -> torch.device:
    """Device of a rank on its node; ``accelerator`` is resolved (not ``auto``)."""
    if accelerator == "cpu":
        return torch.device("cpu")
    if accelerator == "mps" or (accelerator == "gpu" and not torch.cuda.is_available()):
        return torch.device("mps")
    return torch.device("cuda", local_rank)


def dtype_of(precision: str) -> torch.dtype:
    """Type of weights in a precision; mixed ones keep float32 weights."""
    return torch.float64 if precision == "64-true" else torch.float32


def process_group_backend(accelerator: str) -> str:
    """Name the backend: nccl between CUDA devices, gloo for everything on the CPU."""
    return "cpu:gloo,cuda:nccl" if device_of(accelerator, 0).type == "cuda" else "gloo"
