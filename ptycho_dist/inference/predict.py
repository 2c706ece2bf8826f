"""Patterns to patches, in a canonical order and fixed batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.data.batches import PatternBatches, loader_options
from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.devices import device_of, dtype_of
from ptycho_dist.factory.payload import InferencePayload
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.types import IntArray

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class PatchRecipe:
    """How predicted patches enter the sum.

    Parameters
    ----------
    weight_nn
        float64, shape (n, n), on the CPU.
    offset_px
        From the corner of a frame to the corner of its trimmed patch.
    trim_px
        Pixels cut from each side of a prediction.
    """

    weight_nn: Tensor
    offset_px: float
    trim_px: int

    @property
    def side(self) -> int:
        """Side of a trimmed patch."""
        return int(self.weight_nn.shape[-1])


def recipe(model: PtychoModel, payload: InferencePayload) -> PatchRecipe:
    """Weights and trimming that the payload asks for."""
    trim = payload.execution_config.middle_trim
    weight = model.patch_weight().double().cpu()
    if payload.inference_config.patch_weighting == "uniform":
        weight = torch.ones_like(weight)
    side = weight.shape[-1]
    return PatchRecipe(weight[trim : side - trim, trim : side - trim].contiguous(), model.margin_px + trim, trim)


def predict_patches(
    model: PtychoModel, scan: Scan, order: IntArray, payload: InferencePayload
) -> Iterator[tuple[Tensor, IntArray]]:
    """Yield predicted patches (n, side, side) on the CPU, and their pattern indices (n,)."""
    execution = payload.execution_config
    size = execution.inference_batch_size or len(order)
    batches = PatternBatches.of_groups(scan, order, size, payload.data_config, model.sizes.patterns_per_sample)
    loader = DataLoader(batches, batch_size=None, shuffle=False, **loader_options(execution))
    device, dtype = next(model.parameters()).device, model.patch_weight().dtype
    with torch.inference_mode(), precision_context(execution, device):
        for counts, rows in loader:
            photons = counts.to(device, non_blocking=execution.pin_memory).to(dtype) * payload.count_factor
            yield model.predict_own(photons, len(rows)).cpu(), np.asarray(rows)


def place_model(model: PtychoModel, execution: PyTorchExecutionConfig, local_rank: int) -> PtychoModel:
    """Put a model on this rank's device in the precision asked for, ready to predict."""
    device, dtype = device_of(execution.accelerator, local_rank), dtype_of(execution.precision)
    return model.to(device, dtype).eval().requires_grad_(requires_grad=False)


def precision_context(execution: PyTorchExecutionConfig, device: torch.device) -> AbstractContextManager[object]:
    """Autocast for mixed precisions."""
    if execution.precision not in _AUTOCAST:
        return nullcontext()
    return torch.autocast(device.type, dtype=_AUTOCAST[execution.precision])
