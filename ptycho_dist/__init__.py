"""Distributed physics-informed neural networks for ptychography.

Public names are imported on first use, so that the command line starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptycho_dist.bundle import load_bundle, save_bundle
    from ptycho_dist.config.execution import PyTorchExecutionConfig
    from ptycho_dist.config.legacy import update_legacy_dict
    from ptycho_dist.config.refine import RefineConfig
    from ptycho_dist.config.schema import DataConfig, InferenceConfig, ModelConfig, TrainingConfig
    from ptycho_dist.factory.inference import create_inference_payload
    from ptycho_dist.factory.payload import InferencePayload, RefinePayload, TrainingPayload
    from ptycho_dist.factory.refine import create_refine_payload
    from ptycho_dist.factory.training import create_training_payload

_HOMES = {
    "DataConfig": "ptycho_dist.config.schema",
    "InferenceConfig": "ptycho_dist.config.schema",
    "InferencePayload": "ptycho_dist.factory.payload",
    "ModelConfig": "ptycho_dist.config.schema",
    "PyTorchExecutionConfig": "ptycho_dist.config.execution",
    "RefineConfig": "ptycho_dist.config.refine",
    "RefinePayload": "ptycho_dist.factory.payload",
    "TrainingConfig": "ptycho_dist.config.schema",
    "TrainingPayload": "ptycho_dist.factory.payload",
    "create_inference_payload": "ptycho_dist.factory.inference",
    "create_refine_payload": "ptycho_dist.factory.refine",
    "create_training_payload": "ptycho_dist.factory.training",
    "load_bundle": "ptycho_dist.bundle",
    "save_bundle": "ptycho_dist.bundle",
    "update_legacy_dict": "ptycho_dist.config.legacy",
}

__all__ = [
    "DataConfig",
    "InferenceConfig",
    "InferencePayload",
    "ModelConfig",
    "PyTorchExecutionConfig",
    "RefineConfig",
    "RefinePayload",
    "TrainingConfig",
    "TrainingPayload",
    "create_inference_payload",
    "create_refine_payload",
    "create_training_payload",
    "load_bundle",
    "save_bundle",
    "update_legacy_dict",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module 'ptycho_dist' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES[name]), name)
