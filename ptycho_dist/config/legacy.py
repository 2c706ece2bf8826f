"""Bridge to PtychoPINN's flat parameter dictionary."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ptycho_dist.config.schema import DataConfig, InferenceConfig, ModelConfig, TrainingConfig
from ptycho_dist.errors import ConfigError

LegacyConfig = DataConfig | ModelConfig | TrainingConfig | InferenceConfig

LEGACY_NAMES = {
    "probe_trainable": "probe.trainable",
    "intensity_scale_trainable": "intensity_scale.trainable",
    "output_dir": "output_prefix",
    "train_data_file": "train_data_file_path",
    "test_data_file": "test_data_file_path",
    "max_epochs": "nepochs",
}
"""Fields whose legacy name differs from their own."""


def update_legacy_dict(cfg: MutableMapping[str, Any], config: LegacyConfig) -> None:
    """Write a config's values into ``cfg`` under PtychoPINN's flat names.

    None values are skipped, paths become strings. ``object.big`` (groups of
    more than one pattern) and ``positions.provided`` follow from the data config.

    Parameters
    ----------
    cfg
        Mapping the caller owns; other keys in it are left alone.
    config
        A data, model, training or inference config.

    Raises
    ------
    ConfigError
        For any other object.
    """
    if not isinstance(config, LegacyConfig):
        msg = (
            f"update_legacy_dict got a {type(config).__name__}; expected a data, model, training or inference config. "
            "Pass one of these."
        )
        raise ConfigError(msg)
    for field in fields(config):
        value = getattr(config, field.name)
        if value is not None:
            cfg[LEGACY_NAMES.get(field.name, field.name)] = str(value) if isinstance(value, Path) else value
    if isinstance(config, DataConfig):
        patterns = config.group_size if config.gridsize is None else config.gridsize**2
        cfg["object.big"] = patterns > 1
        cfg["positions.provided"] = True
