"""The sections of a run's settings, and other names under which they are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.ptychopinn import RENAMED
from ptycho_dist.config.refine import RefineConfig
from ptycho_dist.config.schema import DataConfig, InferenceConfig, ModelConfig, TrainingConfig

Sections = Mapping[str, type[Any]]

TRAINING_SECTIONS: Sections = {
    "data": DataConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "execution": PyTorchExecutionConfig,
}
INFERENCE_SECTIONS: Sections = {
    "data": DataConfig,
    "model": ModelConfig,
    "inference": InferenceConfig,
    "execution": PyTorchExecutionConfig,
}
REFINE_SECTIONS: Sections = {
    "data": DataConfig,
    "refine": RefineConfig,
    "execution": PyTorchExecutionConfig,
}
ALL_SECTIONS: Sections = {**TRAINING_SECTIONS, **INFERENCE_SECTIONS, **REFINE_SECTIONS}

YIELDING = "refine"
"""Section whose fields give up their plain names where another section has them too."""

ALIASES: Mapping[str, str] = {
    **RENAMED,
    "lr": "learning_rate",
    "train_data_file_path": "train_data_file",
    "test_data_file_path": "test_data_file",
    "output_prefix": "output_dir",
}
"""Other names of fields: PtychoPINN's and Lightning's, where they mean the same."""

MOVED: Mapping[str, str] = {
    "refine.propagation": "data.propagation",
    "refine.source_distance_m": "data.source_distance_m",
    "model.probe_support_px": "data.probe_support_px",
    "model.probe_trainable": "data.probe_trainable",
    "model.n_modes": "data.n_modes",
    "refine.n_modes": "data.n_modes",
    "model.background": "data.background",
    "refine.background": "data.background",
}
"""Former dotted names of settings that have another home now; files, flags and bundles may still use them."""

FORMER_VALUES: Mapping[str, Mapping[Any, str]] = {"data.background": {True: "pixel", False: "none"}}
"""Values of settings that used to be of another type."""


def field_names(config: type[Any]) -> tuple[str, ...]:
    """Field names of a config dataclass, in order."""
    return tuple(field.name for field in fields(config))


def homes(name: str, sections: Sections) -> tuple[str, ...]:
    """Sections that a plain ``name`` may mean; the yielding one only where no other has such a field."""
    found = tuple(section for section, config in sections.items() if name in field_names(config))
    return tuple(section for section in found if section != YIELDING) or found
