"""In which precision a network predicts."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from ptycho_dist.config.execution import PyTorchExecutionConfig

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def precision_context(execution: PyTorchExecutionConfig, device: torch.device) -> AbstractContextManager[object]:
    """Autocast for mixed precisions."""
    if execution.precision not in _AUTOCAST:
        return nullcontext()
    return torch.autocast(device.type, dtype=_AUTOCAST[execution.precision])
