"""Distributed physics-informed neural networks for ptychography.

Public names are imported on first use, so that the command line starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptycho_dist.api.calls import infer, reconstruct, refine_object, train
    from ptycho_dist.api.open_result import open_result
    from ptycho_dist.api.results import Reconstruction, Training
    from ptycho_dist.api.scans import convert_scan, simulate_scan, write_scan
    from ptycho_dist.bundle import load_bundle, save_bundle
    from ptycho_dist.config.execution import PyTorchExecutionConfig
    from ptycho_dist.config.legacy import update_legacy_dict
    from ptycho_dist.config.refine import RefineConfig
    from ptycho_dist.config.schema import DataConfig, InferenceConfig, ModelConfig, TrainingConfig
    from ptycho_dist.data.scan import Scan, ScanOptions, open_scan
    from ptycho_dist.errors import ConfigError, PtychoDistError
    from ptycho_dist.factory.inference import create_inference_payload
    from ptycho_dist.factory.payload import InferencePayload, RefinePayload, TrainingPayload
    from ptycho_dist.factory.refine import create_refine_payload
    from ptycho_dist.factory.training import create_training_payload

_HOMES = {
    "ConfigError": "ptycho_dist.errors",
    "DataConfig": "ptycho_dist.config.schema",
    "InferenceConfig": "ptycho_dist.config.schema",
    "InferencePayload": "ptycho_dist.factory.payload",
    "ModelConfig": "ptycho_dist.config.schema",
    "PtychoDistError": "ptycho_dist.errors",
    "PyTorchExecutionConfig": "ptycho_dist.config.execution",
    "Reconstruction": "ptycho_dist.api.results",
    "RefineConfig": "ptycho_dist.config.refine",
    "RefinePayload": "ptycho_dist.factory.payload",
    "Scan": "ptycho_dist.data.scan",
    "ScanOptions": "ptycho_dist.data.scan",
    "Training": "ptycho_dist.api.results",
    "TrainingConfig": "ptycho_dist.config.schema",
    "TrainingPayload": "ptycho_dist.factory.payload",
    "convert_scan": "ptycho_dist.api.scans",
    "create_inference_payload": "ptycho_dist.factory.inference",
    "create_refine_payload": "ptycho_dist.factory.refine",
    "create_training_payload": "ptycho_dist.factory.training",
    "infer": "ptycho_dist.api.calls",
    "load_bundle": "ptycho_dist.bundle",
    "open_result": "ptycho_dist.api.open_result",
    "open_scan": "ptycho_dist.data.scan",
    "reconstruct": "ptycho_dist.api.calls",
    "refine_object": "ptycho_dist.api.calls",
    "save_bundle": "ptycho_dist.bundle",
    "simulate_scan": "ptycho_dist.api.scans",
    "train": "ptycho_dist.api.calls",
    "update_legacy_dict": "ptycho_dist.config.legacy",
    "write_scan": "ptycho_dist.api.scans",
}

__all__ = [
    "ConfigError",
    "DataConfig",
    "InferenceConfig",
    "InferencePayload",
    "ModelConfig",
    "PtychoDistError",
    "PyTorchExecutionConfig",
    "Reconstruction",
    "RefineConfig",
    "RefinePayload",
    "Scan",
    "ScanOptions",
    "Training",
    "TrainingConfig",
    "TrainingPayload",
    "convert_scan",
    "create_inference_payload",
    "create_refine_payload",
    "create_training_payload",
    "infer",
    "load_bundle",
    "open_result",
    "open_scan",
    "reconstruct",
    "refine_object",
    "save_bundle",
    "simulate_scan",
    "train",
    "update_legacy_dict",
    "write_scan",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module 'ptycho_dist' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
