"""How much memory, disk and time a job takes, estimated from its settings alone."""

from __future__ import annotations

import math

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.schema import DataConfig, ModelConfig, TrainingConfig
from ptycho_dist.doctor.facts import Needs
from ptycho_dist.factory.payload import InferencePayload, Payload, RefinePayload, TrainingPayload

_PROCESS_BYTES = 470 << 20
"""A rank with its libraries, before any data (measured on a CPU)."""
_PIXEL_BYTES, _STAGE_PIXEL_BYTES, _CHANNEL_PIXEL_BYTES = 80.0, 70.0, 0.4
"""Bytes of a training step for each pixel of a pattern: once, for each stage, for each channel of a stage
(fitted to peak memory on a CPU)."""
_CANVAS_BYTES = 28
"""Sums (two int64), weights (int64) and counts (int32) of an object pixel."""
_OBJECT_BYTES = 12
_PICTURES_BYTES = 1 << 20
_OVERLAP_PX = 8.0
"""Distance of neighbouring patterns where the positions are not looked at; generous."""
_WAVES_BYTES = 60
"""Bytes of an update for each pixel of a mode of a pattern."""
_WAVE_PIXELS_PER_S = 2.5e7
"""Pixels of a mode of patterns that one CPU core passes over in a second of a refinement."""
_RATE_PIXELS_PER_S = 1.5e6
"""Pixels of patterns that one CPU core trains on in a second with width 64 and two stages."""


def needs_of(payload: Payload, world: int) -> Needs:
    """Estimate what a job of so many ranks takes."""
    canvas_px = float(payload.canvas_px or _canvas_px(payload.n_patterns, payload.data_config.N))
    memory, disk, seconds = (
        _refinement(payload, canvas_px, world)
        if isinstance(payload, RefinePayload)
        else _network(payload, canvas_px, world)
    )
    return Needs(
        devices=int(payload.execution_config.devices),
        accelerator=payload.execution_config.accelerator,
        batch_size=_batch_size(payload),
        memory_bytes=int(_PROCESS_BYTES + memory),
        disk_bytes=int(disk + _PICTURES_BYTES),
        seconds=seconds if payload.execution_config.accelerator == "cpu" else None,
    )


def _batch_size(payload: Payload) -> int | None:
    """Size of the batches that ranks share; None in a prediction, where each rank has batches of its own."""
    if isinstance(payload, RefinePayload):
        return payload.refine_config.batch_size
    return payload.training_config.batch_size if isinstance(payload, TrainingPayload) else None


def _refinement(payload: RefinePayload, canvas_px: float, world: int) -> tuple[float, float, float]:
    """Memory and disk in bytes, and rough seconds on CPU cores, of a refinement."""
    refine, pixels = payload.refine_config, payload.data_config.N**2
    share = min(4.0 * pixels * payload.n_patterns / world, refine.memory_GiB * 2**30)
    modes = payload.data_config.n_modes or 1
    in_batch = _WAVES_BYTES * modes * pixels * -(-int(refine.batch_size or 1) // world)
    seconds = refine.iterations * payload.n_patterns * pixels * modes / (_WAVE_PIXELS_PER_S * world)
    tiles = refine.tiles or 1
    own_px = _own_px(canvas_px, tiles, -(-tiles // world), payload.data_config.N)
    return share + in_batch + 4 * _OBJECT_BYTES * own_px, 2 * _OBJECT_BYTES * canvas_px, seconds


def _own_px(canvas_px: float, parts: int, own: int, N: int) -> float:
    """Pixels of some of the equal parts of an object, each with what the frames of its patterns reach over its edge."""
    side = math.sqrt(canvas_px / parts)
    return min(canvas_px, own * (side + N) ** 2)


def _network(payload: Payload, canvas_px: float, world: int) -> tuple[float, float, float]:
    """Return the same of a training or a prediction."""
    assert isinstance(payload, TrainingPayload | InferencePayload)
    pixels = payload.data_config.N**2
    training = payload.training_config if isinstance(payload, TrainingPayload) else None
    on_all_ranks = _patterns_in_step(payload.data_config, training, payload.execution_config, world)
    memory = on_all_ranks * pixels * _step_bytes(payload.model_config) + 64 * payload.n_patterns
    disk = 8 * pixels * payload.n_patterns + canvas_px * (world * _CANVAS_BYTES + _OBJECT_BYTES)
    own_px = _own_px(canvas_px, world, 1, payload.data_config.N)
    return memory + own_px * _CANVAS_BYTES, disk, _seconds(payload, training, world)


def _canvas_px(n_patterns: int, N: int) -> float:
    return (math.sqrt(n_patterns) * _OVERLAP_PX + N) ** 2


def _patterns_in_step(
    data: DataConfig, training: TrainingConfig | None, execution: PyTorchExecutionConfig, world: int
) -> int:
    """Most patterns that a rank holds at once, in training or in prediction (whose steps keep no gradients)."""
    predicted = -(-int(execution.inference_batch_size or 32) // 3)
    if training is None:
        return predicted
    return max(predicted, -(-training.batch_size // world) * data.patterns_in_group)


def _step_bytes(model: ModelConfig) -> float:
    return _PIXEL_BYTES + model.stages * (_STAGE_PIXEL_BYTES + _CHANNEL_PIXEL_BYTES * model.width)


def _seen(payload: TrainingPayload | InferencePayload, training: TrainingConfig) -> int:
    """Patterns that an epoch sees."""
    return payload.data_config.patterns_in_epoch(training.n_chosen(payload.n_patterns), training.n_groups)


def _seconds(payload: TrainingPayload | InferencePayload, training: TrainingConfig | None, world: int) -> float:
    """Rough duration on CPU cores."""
    data, seen = payload.data_config, float(payload.n_patterns)
    if training is not None:
        epochs, step = training.epochs * _seen(payload, training), training.batch_size
        most = epochs if training.max_steps is None else training.max_steps * step * data.patterns_in_group
        seen += min(epochs, most)
    work = payload.model_config.stages * payload.model_config.width / 128
    return seen * data.N**2 * work / (_RATE_PIXELS_PER_S * world)
