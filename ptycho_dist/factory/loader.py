"""Loaders that suit the device: on a GPU batches are read ahead, by processes of their own, into page-locked memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.precedence import DEFAULT, Resolution

_WORKERS, _PREFETCHED = 2, 4
"""Loader processes of a rank, and batches that each prepares ahead; the same on every node, as payloads are."""
_KNOBS = ("num_workers", "pin_memory", "persistent_workers", "prefetch_factor")


def choose_loader(
    config: PyTorchExecutionConfig, resolution: Resolution, *, trains: bool = True
) -> PyTorchExecutionConfig:
    """Settle loader knobs that nobody gave; on a CPU they stay as they are.

    Parameters
    ----------
    config
        Execution settings whose accelerator is settled.
    resolution
        Where their values came from.
    trains
        Whether the job trains; others read in order, which a rank does itself.
    """
    if config.accelerator not in ("cuda", "gpu"):
        return config
    unset = {name for name in _KNOBS if resolution.provenance[f"execution.{name}"] == DEFAULT}
    chosen: dict[str, Any] = {"pin_memory": True}
    if trains:
        workers = _WORKERS if "num_workers" in unset else config.num_workers
        chosen |= {"num_workers": workers, "persistent_workers": workers > 0}
        chosen["prefetch_factor"] = _PREFETCHED if workers else None
    return replace(config, **{name: value for name, value in chosen.items() if name in unset})
